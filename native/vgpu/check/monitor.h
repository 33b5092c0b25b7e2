#pragma once
// initcheck and racecheck: watches all memory accesses and all synchronisation of a launch.
//
// racecheck keeps a vector clock per agent. Two accesses to a byte, at least one of them a write, must be ordered: by
// program order, by a barrier, by atomic or ordered accesses to one location, or by waiting for an asynchronous copy.
// It reports no false races: whatever it reports was unordered in this execution. It may miss races, because it credits
// fences and sub-word accesses with more ordering than they give.
#include <mutex>
#include <unordered_map>

#include "check/clock.h"
#include "check/shadow.h"
#include "machine/address.h"
#include "machine/launch.h"

namespace vgpu {

class Monitor {
 public:
  Monitor(Launch& launch, Checks checks, uint32_t launch_number);

  // Checks an access by the lanes in mask to one allocation or to one block's shared memory. `shadow` belongs to that
  // memory, and `offset` is each lane's position in it. @throws DeviceFault
  void access(Warp& w, Space space, Shadow& shadow, const uint64_t (&offset)[kLanes], unsigned bytes, Access access,
              uint32_t mask, By by = By::warp);

  // A warp that acquires an object afterwards is ordered after everything this warp has done so far.
  void release(Warp& w, uint64_t object, By by = By::warp);
  void acquire(Warp& w, uint64_t object);
  void forget(uint64_t object);
  // fence.proxy.async: everything ordered before this point becomes visible to the asynchronous proxy.
  void fence_proxies(Warp& w);
  // Copies begin after what the issuing warp did before. A warp that waits for them is ordered after the copies up to
  // `time`.
  void issued(Warp& w);
  uint32_t copies_time(Warp& w);
  void waited_for_copies(Warp& w, uint32_t time) { waited_for_copies(w, w, time); }
  void waited_for_copies(Warp& w, const Warp& issuer, uint32_t time);

  // The names of synchronisation objects: locations in memory and barriers.
  static uint64_t location(const Shadow& shadow, uint64_t offset) {
    return reinterpret_cast<uint64_t>(&shadow) << 20 ^ offset;
  }
  static uint64_t barrier_object(const Block& block, uint32_t barrier, uint64_t phase);

 private:
  // A warp has three agents: itself, its copies, and itself as seen by the asynchronous proxy; the last one never acts.
  static constexpr uint32_t kAgents = 3;
  static Agent as_proxy_sees(Agent agent) { return agent / kAgents * kAgents + 2; }
  Agent agent_of(const Warp& w, By by) const;
  WarpClocks& clock_of(Warp& w);
  template <bool kWrites>
  void check_races(Warp& w, Space space, Shadow& shadow, const uint64_t (&offset)[kLanes], unsigned bytes,
                   uint32_t mask, Event now);
  template <bool kWrites>
  void check_race(Warp& w, Space space, Shadow& shadow, uint64_t offset, const Event& now);
  uint32_t instruction_of(const Warp& w) const;
  [[noreturn]] void report_unwritten(Warp& w, Space space, uint64_t offset, unsigned bytes, int lane);
  [[noreturn]] void report(Warp& w, Space space, const char* hazard, uint64_t offset, const Event& before,
                           const Event& now);

  Launch& launch_;
  const Checks checks_;
  const uint32_t number_;
  uint32_t warps_per_block_, agents_per_cluster_;
  std::unordered_map<uint64_t, VectorClock> objects_;
  std::mutex mutex_;  // protects objects_
};

}  // namespace vgpu

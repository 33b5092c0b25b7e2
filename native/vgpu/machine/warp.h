#pragma once
// A warp of 32 lanes. Lanes at the same instruction run together as a Split. A divergent branch makes two splits of
// one; splits that meet at an instruction are merged. The split at the lowest instruction runs first, so that
// structured code reconverges; every other split gets a turn after a while, so that lanes may wait for each other.
#include <cstring>
#include <vector>

#include "check/clock.h"
#include "machine/async.h"
#include "machine/bulk.h"
#include "machine/warpgroup.h"
#include "program/program.h"

namespace vgpu {

class Block;
class Launch;
class Shadow;
struct OpCounts;

// The activation record of a routine.
struct Frame {
  const Routine* routine;
  Frame* caller;
  uint32_t return_to;  // the caller's instruction
  uint32_t depth;
  uint32_t lanes = 0;   // lanes that have not returned
  uint32_t local_base;  // offset of the frame in each lane's local memory
  std::unique_ptr<std::byte[]> memory;
  std::byte* registers;        // in `memory`, 64-byte aligned
  const Call* call = nullptr;  // the call that created the frame
  OpCounts* counts = nullptr;  // the counts of the routine's instructions; null without counting

  // The offset of parameters, results and call arguments in each lane's local memory.
  uint64_t arguments() const { return local_base + (routine->local_bytes + 15) / 16 * 16; }
};

struct Split {
  Frame* frame;
  uint32_t pc;
  uint32_t mask;
  bool waiting = false;  // blocked at pc until other lanes, warps or copies act
  // has done its part of the instruction it waits at; the instruction resets this when it completes
  bool arrived = false;
  uint64_t ticket = 0;  // for use by the waiting instruction
};

enum class WarpState : uint8_t { progress, waiting, done };

class Warp {
 public:
  Warp(Block& block, uint32_t index, uint32_t lanes);

  // --- for handlers -------------------------------------------------------------------------------------------------

  std::byte* registers = nullptr;  // the frame of the current instruction
  uint32_t mask = 0;               // the lanes it runs for
  uint32_t active = 0;             // all lanes of its split, including those masked off by the guard
  uint32_t pc = 0;                 // the next instruction

  template <class T>
  T* lanes(uint32_t slot) {
    return reinterpret_cast<T*>(registers + slot);
  }
  uint32_t& predicate(uint32_t slot) { return *reinterpret_cast<uint32_t*>(registers + slot); }
  void set_predicate(uint32_t slot, uint32_t value) {
    uint32_t& p = predicate(slot);
    p = (p & ~mask) | (value & mask);
  }

  void jump(uint32_t target);  // moves the lanes in mask
  void jump_to_each(const uint32_t (&targets)[kLanes]);
  void exit_lanes(uint32_t lanes);
  void call(const Routine& routine, const Call& call);
  void return_lanes();
  // The current split stays at its instruction, which runs again later; lanes masked off by the guard continue.
  void wait();
  // Ends the warp's turn: the instruction is complete, but it polled for something that has not happened yet.
  void yield();
  // Lanes of a split that have completed its current instruction continue; the others stay.
  void pass(size_t split, uint32_t lanes);
  // For instructions that need all of these lanes at once: returns true if they are in mask; otherwise the split waits.
  bool converged(uint32_t needed);

  Block& block;
  const uint32_t index;     // in the block
  const uint32_t existing;  // lanes of the warp; the last one of a block may have fewer than 32
  uint32_t exited = 0;
  uint32_t cluster_arrivals = 0;  // lanes that have arrived at the cluster's barrier in its current phase
  uint32_t cluster_unwaited = 0;  // lanes that have arrived and not yet waited
  uint32_t live() const { return existing & ~exited; }
  Split& split() { return splits_[current_]; }
  std::byte* local(int lane, uint64_t offset) {
    return local_.data() + static_cast<size_t>(lane) * local_bytes_ + offset;
  }
  uint64_t local_size() const { return local_bytes_; }

  // The value of clock registers. It advances with every read, so that waiting for a time ends and runs are repeatable.
  uint64_t clock = 0;

  // --- for the scheduler --------------------------------------------------------------------------------------------

  // Runs at most `budget` instructions and subtracts those executed.
  WarpState run(int64_t& budget);
  bool done() const { return splits_.empty(); }
  const std::vector<Split>& splits() const { return splits_; }
  size_t current() const { return current_; }
  // The lane at fault, if a handler knows it.
  int fault_lane = -1;
  // The current or last instruction.
  const Op* current_op() const { return current_op_; }
  OpCounts* current_counts();

  // A small cache of recently used allocations: [begin, end) and their host memory.
  struct Window {
    uint64_t begin = 1, end = 0;
    std::byte* host = nullptr;
    bool constant = false;
    Shadow* shadow = nullptr;
  };
  Window windows[4];
  unsigned next_window = 0;
  uint64_t windows_generation = 0;

  AsyncCopies copies;  // issued by this warp
  Accumulators accumulators;
  BulkCopies bulk;

  WarpClocks clocks;  // for racecheck

 private:
  void copy_arguments(const Frame& from, const Frame& to, const std::vector<Call::Copy>& copies);
  Frame* push_frame(const Routine& routine, Frame* caller, uint32_t return_to);
  void drop_lanes(Frame* frame, uint32_t lanes);
  void leave(size_t split, uint32_t lanes, uint32_t to);
  size_t choose();
  // Returns false if the split only found that it still has to wait.
  bool run_split(size_t index, int64_t slice, int64_t& budget);
  void tidy();

  std::vector<Split> splits_;
  std::vector<std::unique_ptr<Frame>> frames_;
  std::vector<std::unique_ptr<Frame>> spare_;  // frames of finished calls, for reuse
  size_t current_ = 0;
  const Op* current_op_ = nullptr;
  bool event_ = false;  // the current split changed and must be rescheduled
  bool waits_ = false;  // the current split waits
  bool yielded_ = false;
  std::vector<std::byte> local_;
  uint64_t local_bytes_ = 0;
  uint32_t local_top_ = 0;
  uint64_t turn_ = 0;
};

}  // namespace vgpu

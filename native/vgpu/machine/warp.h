#pragma once
// 32 lanes. Those that are at the same instruction run together as a Split; a branch that not all take makes two
// Splits of one, and Splits that meet at an instruction become one again. The one at the lowest instruction runs first,
// which brings them together where structured code joins, and every other gets its turn after a while, so that lanes
// may wait for each other.
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

// The registers of a call of a routine.
struct Frame {
  const Routine* routine;
  Frame* caller;
  uint32_t return_to;  // instruction of the caller
  uint32_t depth;
  uint32_t lanes = 0;   // that have not returned
  uint32_t local_base;  // of the frame's local memory in each lane's
  std::unique_ptr<std::byte[]> memory;
  std::byte* registers;        // in `memory`, aligned to 64
  const Call* call = nullptr;  // that made it
  OpCounts* counts = nullptr;  // of the routine's instructions, where they are counted

  // Where parameters, results, and the arguments of calls stand in each lane's local memory.
  uint64_t arguments() const { return local_base + (routine->local_bytes + 15) / 16 * 16; }
};

struct Split {
  Frame* frame;
  uint32_t pc;
  uint32_t mask;
  bool waiting = false;  // at pc, for something that other lanes, warps or copies bring about
  bool arrived = false;  // has done its part of what it waits for; the instruction takes it back when it is over
  uint64_t ticket = 0;   // the waiting instruction's own
};

enum class WarpState : uint8_t { progress, waiting, done };

class Warp {
 public:
  Warp(Block& block, uint32_t index, uint32_t lanes);

  // --- for handlers -------------------------------------------------------------------------------------------------

  std::byte* registers = nullptr;  // of the frame in which the current instruction runs
  uint32_t mask = 0;               // the lanes for which it runs
  uint32_t active = 0;             // and those of its split, which a guard may have left out
  uint32_t pc = 0;                 // the instruction that follows

  template <class T>
  T* lanes(uint32_t slot) {
    return reinterpret_cast<T*>(registers + slot);
  }
  uint32_t& predicate(uint32_t slot) { return *reinterpret_cast<uint32_t*>(registers + slot); }
  void set_predicate(uint32_t slot, uint32_t value) {
    uint32_t& p = predicate(slot);
    p = (p & ~mask) | (value & mask);
  }

  void jump(uint32_t target);  // by the lanes in mask
  void jump_to_each(const uint32_t (&targets)[kLanes]);
  void exit_lanes(uint32_t lanes);
  void call(const Routine& routine, const Call& call);
  void return_lanes();
  // The current split stays at its instruction, which runs again later; lanes that a guard leaves out go on.
  void wait();
  // Others may run now: the instruction is done, but what it asked for was not so yet.
  void yield();
  // Lanes of a split have done the instruction at which it stands and go on behind it; the others of the split stay.
  void pass(size_t split, uint32_t lanes);
  // For instructions that need all of these lanes at once: true if they are here. Else the split waits for them.
  bool converged(uint32_t needed);

  Block& block;
  const uint32_t index;     // in the block
  const uint32_t existing;  // lanes
  uint32_t exited = 0;
  uint32_t cluster_here = 0;     // lanes that have come to the cluster's barrier in its current phase
  uint32_t cluster_arrived = 0;  // lanes that have arrived and not waited
  uint32_t live() const { return existing & ~exited; }
  Split& split() { return splits_[current_]; }
  std::byte* local(int lane, uint64_t offset) {
    return local_.data() + static_cast<size_t>(lane) * local_bytes_ + offset;
  }
  uint64_t local_size() const { return local_bytes_; }

  // What clocks show: it advances with every look, so that waiting for a time to come ends, and runs are repeatable.
  uint64_t clock = 0;

  // --- for the scheduler --------------------------------------------------------------------------------------------

  // Runs up to `budget` instructions, which is counted down.
  WarpState run(int64_t& budget);
  bool done() const { return splits_.empty(); }
  const std::vector<Split>& splits() const { return splits_; }
  size_t current() const { return current_; }
  // The lane whose fault it is, where a handler knows.
  int fault_lane = -1;
  // The instruction that runs, or ran last.
  const Op* current_op() const { return current_op_; }
  OpCounts* current_counts();

  // A small cache of the allocations last used: [begin, end) and where the host has them.
  struct Window {
    uint64_t begin = 1, end = 0;
    std::byte* host = nullptr;
    bool constant = false;
    Shadow* shadow = nullptr;
  };
  Window windows[4];
  unsigned next_window = 0;
  uint64_t windows_generation = 0;

  AsyncCopies copies;  // that it has issued
  Accumulators accumulators;
  BulkCopies bulk;

  WarpClocks clocks;  // of racecheck

 private:
  void copy_arguments(const Frame& from, const Frame& to, const std::vector<Call::Copy>& copies);
  Frame* push_frame(const Routine& routine, Frame* caller, uint32_t return_to);
  void drop_lanes(Frame* frame, uint32_t lanes);
  void leave(size_t split, uint32_t lanes, uint32_t to);
  size_t choose();
  // False if all it did was to look whether it still has to wait.
  bool run_split(size_t index, int64_t slice, int64_t& budget);
  void tidy();

  std::vector<Split> splits_;
  std::vector<std::unique_ptr<Frame>> frames_;
  std::vector<std::unique_ptr<Frame>> spare_;  // of calls that are over, for the next ones
  size_t current_ = 0;
  const Op* current_op_ = nullptr;
  bool event_ = false;  // the split changed: look again
  bool waits_ = false;  // it waits
  bool yielded_ = false;
  std::vector<std::byte> local_;
  uint64_t local_bytes_ = 0;
  uint32_t local_top_ = 0;
  uint64_t turn_ = 0;
};

}  // namespace vgpu

#pragma once
// What a launch did, counted exactly per instruction: in place of a profiler. Times it cannot tell.
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "program/program.h"

namespace vgpu {

class Warp;
struct LaunchShape;

struct OpCounts {
  uint64_t executed = 0;     // by warps, with whatever lanes
  uint64_t lanes = 0;        // that it ran for
  uint64_t divergences = 0;  // branches that some lanes of a split took and others did not
  // Of loads, stores, atomics and copies. A sector is 32 bytes of global memory. `ideal` is what the distinct bytes
  // that were asked for would take, packed.
  uint64_t global_requests = 0, global_sectors = 0, global_ideal = 0, global_bytes = 0;
  // Shared memory answers a wavefront at a time: one word from each of 32 banks; 8-byte accesses go by half-warps,
  // 16-byte ones by quarters.
  uint64_t shared_requests = 0, shared_wavefronts = 0, shared_ideal = 0, shared_bytes = 0;
  uint64_t async_bytes = 0;  // that asynchronous copies write, the zeros they fill in included

  void add(const OpCounts& other);
};

// Of global memory, by their numbers.
class SectorSet {
 public:
  void insert(uint64_t sector);
  void add(const SectorSet& other);
  uint64_t size() const;

 private:
  static constexpr unsigned kShift = 15;  // 1 MiB of memory to a page
  using Page = std::array<uint64_t, (1u << kShift) / 64>;
  Page& page(uint64_t number);

  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
  uint64_t last_number_ = UINT64_MAX;
  Page* last_ = nullptr;
};

class Counters {
 public:
  SectorSet loaded, stored;  // that were touched at all; atomics do both

  // Of the instructions of a routine, by index.
  OpCounts* of(const Routine& routine) {
    auto& counts = counts_[&routine];
    if (counts.empty()) counts.resize(routine.ops.size());
    return counts.data();
  }
  void add(const Counters& other);
  const std::unordered_map<const Routine*, std::vector<OpCounts>>& all() const { return counts_; }

 private:
  std::unordered_map<const Routine*, std::vector<OpCounts>> counts_;
};

// Of one request of a warp: `at` are addresses of the lanes in mask.
void count_global(OpCounts& counts, const uint64_t (&at)[kLanes], unsigned bytes, uint32_t mask, SectorSet* loaded,
                  SectorSet* stored);
void count_shared(OpCounts& counts, const uint64_t (&at)[kLanes], unsigned bytes, uint32_t mask);

// One JSON object: the launch, its totals, the counts of every source line, and of every instruction.
std::string to_json(const Program& program, const Routine& kernel, const LaunchShape& shape, const Counters& counters);

}  // namespace vgpu

#pragma once
// Exact counts per instruction of what a launch did. They replace a profiler except for times.
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
  uint64_t executed = 0;     // by warps, with any number of lanes
  uint64_t lanes = 0;        // executions by single lanes
  uint64_t divergences = 0;  // branches on which the lanes of a split parted
  // Loads, stores, atomics and copies. A sector is 32 bytes of global memory. `ideal` is the number of sectors that the
  // requested distinct bytes would occupy if packed.
  uint64_t global_requests = 0, global_sectors = 0, global_ideal = 0, global_bytes = 0;
  // Shared memory serves one wavefront at a time: one word from each of 32 banks. 8-byte accesses are split into
  // half-warps, 16-byte accesses into quarters.
  uint64_t shared_requests = 0, shared_wavefronts = 0, shared_ideal = 0, shared_bytes = 0;
  uint64_t async_bytes = 0;  // written by asynchronous copies, including zero fill

  void add(const OpCounts& other);
};

// A set of sector numbers of global memory.
class SectorSet {
 public:
  void insert(uint64_t sector);
  void add(const SectorSet& other);
  uint64_t size() const;

 private:
  static constexpr unsigned kShift = 15;  // a page covers 1 MiB of memory
  using Page = std::array<uint64_t, (1u << kShift) / 64>;
  Page& page(uint64_t number);

  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
  uint64_t last_number_ = UINT64_MAX;
  Page* last_ = nullptr;
};

class Counters {
 public:
  SectorSet loaded, stored;  // sectors touched at least once; an atomic does both

  // The counts of a routine's instructions, by index.
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

// Count one request of a warp; `at` holds the addresses of the lanes in mask.
void count_global(OpCounts& counts, const uint64_t (&at)[kLanes], unsigned bytes, uint32_t mask, SectorSet* loaded,
                  SectorSet* stored);
void count_shared(OpCounts& counts, const uint64_t (&at)[kLanes], unsigned bytes, uint32_t mask);

// A JSON object with the launch, its totals, and the counts of every source line and every instruction.
std::string to_json(const Program& program, const Routine& kernel, const LaunchShape& shape, const Counters& counters);

}  // namespace vgpu

#pragma once
// wgmma in flight: what a warp has issued and not waited for, and whether the four warps of a warpgroup agree.
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "program/program.h"

namespace vgpu {

class Warp;

// A warp must not access the accumulators of a wgmma before it has waited for their group. Until then the registers
// hold 0xff…, and the results are stored here.
class Accumulators {
 public:
  struct Result {
    std::vector<uint32_t*> registers;  // 32 lanes each
    std::vector<uint32_t> values;
    uint64_t group;
  };

  // The accumulators in these registers with their latest values; they join the open group.
  Result& open(const std::vector<uint32_t*>& registers);
  void commit() { open_group_++; }
  // Completes all but the last `pending` groups: writes their accumulators to the registers.
  void wait(uint64_t pending);
  uint64_t open_group() const { return open_group_; }

  bool fenced = false;          // wgmma.fence has been executed
  std::vector<uint32_t> times;  // per group, for racecheck
  uint64_t issued = 0;          // digest of the open group's wgmma instructions

 private:
  std::deque<Result> results_;
  uint64_t open_group_ = 0;
};

// Compares the groups that the warps of a warpgroup commit.
class WarpgroupLog {
 public:
  // Returns false if another warp has committed a different group under the same number.
  bool agrees(uint32_t warpgroup, uint64_t group, uint64_t digest);

 private:
  struct Entry {
    uint64_t digest;
    int warps;
  };
  std::map<std::pair<uint32_t, uint64_t>, Entry> groups_;
};

}  // namespace vgpu

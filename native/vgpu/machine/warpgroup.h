#pragma once
// wgmma in flight: what a warp has issued and not waited for, and whether the four warps of a warpgroup do the same.
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "program/program.h"

namespace vgpu {

class Warp;

// Accumulators that a wgmma writes are not the warp's again before it has waited for the group they belong to. Until
// then the registers hold 0xff…, and what they will hold is kept here.
class Accumulators {
 public:
  struct Result {
    std::vector<uint32_t*> registers;  // 32 lanes each
    std::vector<uint32_t> values;
    uint64_t group;
  };

  // The accumulators in these registers, with their latest values: of the open group from now on.
  Result& open(const std::vector<uint32_t*>& registers);
  void commit() { open_group_++; }
  // All but the last `pending` groups are done: their accumulators are in the registers again.
  void wait(uint64_t pending);
  uint64_t open_group() const { return open_group_; }

  bool fenced = false;          // wgmma.fence has been executed
  std::vector<uint32_t> times;  // of the groups, for racecheck
  uint64_t issued = 0;          // a digest of the wgmma of the open group

 private:
  std::deque<Result> results_;
  uint64_t open_group_ = 0;
};

// Compares what the warps of a warpgroup commit, group by group.
class WarpgroupLog {
 public:
  // False if another warp has committed something else as the same group.
  bool agrees(uint32_t warpgroup, uint64_t group, uint64_t digest);

 private:
  struct Entry {
    uint64_t digest;
    int warps;
  };
  std::map<std::pair<uint32_t, uint64_t>, Entry> groups_;
};

}  // namespace vgpu

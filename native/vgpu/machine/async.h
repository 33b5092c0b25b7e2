#pragma once
// The cp.async copies that a warp has issued and that are still pending, and the mbarrier arrivals that follow them.
//
// The hardware may complete a copy at any time between its issue and the wait that requires it, so a program with too
// weak a wait may get away with it. Here copies therefore complete as late as possible by default, and until then their
// destination holds 0xff…, a NaN in every format.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "program/program.h"

namespace vgpu {

class Warp;

enum class Completion : uint8_t { late, early, random };

class AsyncCopies {
 public:
  // A copy by each lane in mask: from_bytes[l] bytes of from[l], then zeros up to `bytes`, to to[l].
  struct Copy {
    uint32_t mask;
    uint32_t bytes;  // 0: an arrival at the mbarrier `to`
    uint32_t line;   // PTX line, for reports
    std::byte* to[kLanes];
    const std::byte* from[kLanes];
    uint8_t from_bytes[kLanes];
    uint32_t group[kLanes];
  };

  void issue(Warp& w, Copy&& copy);
  // Closes a group of each lane in mask with the copies issued so far.
  void commit(Warp& w, uint32_t mask);
  // Completes all but the last `pending` groups of each lane in mask.
  void wait_group(Warp& w, uint32_t mask, uint32_t pending);
  // Completes all copies of the lanes in mask, committed or not.
  void wait_all(Warp& w, uint32_t mask);
  // Each lane in mask arrives at its mbarrier when its copies so far have completed.
  void arrive_after(Warp& w, uint32_t mask, std::byte* const (&barrier)[kLanes]);

  bool empty() const { return pending_.empty(); }
  // Completes everything. Returns false if nothing was pending.
  bool complete_all(Warp& w);
  // The first pending copy; null if there is none.
  const Copy* first_copy() const;

 private:
  void complete(Warp& w, Copy& copy, uint32_t lanes);
  void complete_some(Warp& w);
  void sweep();

  std::vector<Copy> pending_;  // in the order of issue
  uint32_t committed_[kLanes] = {};
  std::vector<uint32_t> times_;  // per group, for racecheck
};

}  // namespace vgpu

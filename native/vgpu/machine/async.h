#pragma once
// Copies that a warp has issued and that are not complete (cp.async), and what is to arrive at mbarriers after them.
//
// When such a copy completes is up to the device, between its issue and the wait that requires it. A program that waits
// too little may be lucky, so by default copies complete as late as they may, and until then their destination holds
// 0xff…, which is a NaN in every format.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "program/program.h"

namespace vgpu {

class Warp;

enum class Completion : uint8_t { late, early, random };

class AsyncCopies {
 public:
  // A copy by each lane of mask: from_bytes[l] bytes of from[l] and then zeros, `bytes` in all, to `to[l]`.
  struct Copy {
    uint32_t mask;
    uint32_t bytes;  // 0: an arrival at the mbarrier at `to`
    uint32_t line;   // of the PTX, for reports
    std::byte* to[kLanes];
    const std::byte* from[kLanes];
    uint8_t from_bytes[kLanes];
    uint32_t group[kLanes];
  };

  void issue(Warp& w, Copy&& copy);
  // The copies of the lanes in mask so far become a group of each lane's.
  void commit(Warp& w, uint32_t mask);
  // All but the `pending` last groups of each lane in mask are complete when this returns.
  void wait_group(Warp& w, uint32_t mask, uint32_t pending);
  // What the lanes have copied so far, committed or not, is.
  void wait_all(Warp& w, uint32_t mask);
  // An arrival of each lane in mask, when its copies so far are complete.
  void arrive_after(Warp& w, uint32_t mask, std::byte* const (&barrier)[kLanes]);

  bool empty() const { return pending_.empty(); }
  // Completes everything; false if there was nothing.
  bool complete_all(Warp& w);
  // The first copy that is not complete; null if there is none.
  const Copy* first_copy() const;

 private:
  void complete(Warp& w, Copy& copy, uint32_t lanes);
  void complete_some(Warp& w);
  void sweep();

  std::vector<Copy> pending_;  // as they were issued
  uint32_t committed_[kLanes] = {};
  std::vector<uint32_t> times_;  // of the groups, for racecheck
};

}  // namespace vgpu

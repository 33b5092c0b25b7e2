#pragma once
// Instructions that lanes execute together: which lanes must arrive, and which have arrived.
#include <string>
#include <vector>

#include "instructions/lanes.h"
#include "machine/fault.h"

namespace vgpu {

[[noreturn]] inline void synccheck_fault(Warp& w, int lane, std::string message) {
  if (lane >= 0) w.fault_lane = lane;
  throw DeviceFault{{FaultKind::illegal_instruction, "synccheck", std::move(message), {}}};
}

// The operands and results of an instruction for the lanes of a membermask. The lanes need not be at the same
// instruction: the ISA asks for "the same qualifiers and the same membermask value", so each arm of a branch may have
// its own. Pointers are to values of 32 lanes, of which those in `lanes` count.
struct Group {
  uint32_t lanes;
  const void* a;
  uint32_t votes;  // `a`, if it is a predicate
  const uint32_t *b, *c;
  uint32_t *d, *p;  // null if there is no such result

  void set_predicate(uint32_t value) const {
    if (p) *p = (*p & ~lanes) | (value & lanes);
  }
};

// Op flag: the predicate operand is !p.
constexpr uint8_t kNegatedVote = 1;
enum class Contribution : uint8_t { none, votes, words, long_words };  // what each lane contributes in op.a

// A group of which some lanes are at another instruction: copies of their operands, and where to put their results.
class ScatteredGroup {
 public:
  // True if all `missing` lanes are at an instruction like this one with the same membermask as the `present` lanes.
  // @throws DeviceFault if a missing lane waits for a present one in a different way, which would be a deadlock.
  static bool complete(Warp& w, const Op& op, uint32_t membermask, uint32_t present, uint32_t missing);

  ScatteredGroup(Warp& w, const Op& op, Contribution contribution, uint32_t present, uint32_t missing);
  const Group& group() const { return group_; }
  // Writes the results and advances the lanes that are not in the current split.
  void finish(Warp& w);

 private:
  struct Part {
    size_t split;
    Group group;
  };
  void add(Warp& w, size_t split, const Op& op, Contribution contribution, uint32_t lanes);

  std::vector<Part> parts_;
  uint64_t a_[kLanes] = {};
  uint32_t b_[kLanes] = {}, c_[kLanes] = {}, d_[kLanes] = {}, p_ = 0;
  Group group_{};
};

// The operands of an instruction with a membermask: a, b, c, d as decoded, the membermask in e, and a predicate result
// in the list.
Group group_in(const Frame& frame, const Op& op, Contribution contribution, uint32_t lanes);

// Calls body(group) for each group of lanes that name the same membermask and have all arrived. The other lanes wait.
// Exited lanes are not waited for (PTX ISA: "all non-exited threads corresponding to membermask"), nor are lanes that a
// short warp lacks.
template <class F>
void for_groups(Warp& w, const Op& op, Contribution contribution, F&& body) {
  const uint32_t* members = w.lanes<const uint32_t>(op.e);
  const uint32_t present = w.mask, live = w.live();
  uint32_t done = 0;
  for (uint32_t left = present; left;) {
    const uint32_t membermask = members[__builtin_ctz(left)];
    uint32_t same = 0;
    for (int l = 0; l < kLanes; l++) same |= static_cast<uint32_t>(members[l] == membermask) << l;
    same &= present;
    left &= ~same;
    if (const uint32_t outsiders = same & ~membermask)
      synccheck_fault(w, __builtin_ctz(outsiders),
                      "lane " + std::to_string(__builtin_ctz(outsiders)) + " is not in its own membermask");
    const uint32_t group = membermask & live;
    if (const uint32_t others = group & present & ~same)
      synccheck_fault(w, __builtin_ctz(others), "lanes of a membermask name different membermasks");
    if (group == same) {
      body(group_in(*w.split().frame, op, contribution, group));
    } else if (ScatteredGroup::complete(w, op, membermask, same, group & ~same)) {
      ScatteredGroup scattered(w, op, contribution, same, group & ~same);
      body(scattered.group());
      scattered.finish(w);
    } else {
      continue;
    }
    done |= same;
  }
  if (done == present) return;
  if (done) w.pass(w.current(), done);
  w.wait();
}

// For .aligned: true if the whole warp is at the instruction. It is undefined for a warp of fewer than 32 threads.
inline bool whole_warp(Warp& w) {
  if (w.mask == kAllLanes) return true;
  if (w.live() != kAllLanes)
    synccheck_fault(w, -1, "the instruction needs all 32 lanes of a warp, but some have exited or do not exist");
  if (w.active != w.mask)
    synccheck_fault(w, -1, "the instruction needs all 32 lanes of a warp, but its guard masks some off");
  return w.converged(kAllLanes);
}

}  // namespace vgpu

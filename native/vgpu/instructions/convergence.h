#pragma once
// Instructions that lanes execute together: who has to come, and who has come.
#include <string>
#include <vector>

#include "instructions/lanes.h"
#include "machine/fault.h"

namespace vgpu {

[[noreturn]] inline void synccheck_fault(Warp& w, int lane, std::string message) {
  if (lane >= 0) w.fault_lane = lane;
  throw DeviceFault{{FaultKind::illegal_instruction, "synccheck", std::move(message), {}}};
}

// What the lanes of a membermask bring to an instruction and take from it. They need not be at the same one: the ISA
// asks for "the same qualifiers and the same membermask value", so the arms of a branch may each have their own.
// Values are of 32 lanes, of which those in `lanes` count.
struct Group {
  uint32_t lanes;
  const void* a;
  uint32_t votes;  // `a` where it is a predicate
  const uint32_t *b, *c;
  uint32_t *d, *p;  // null if there is no such result

  void set_predicate(uint32_t value) const {
    if (p) *p = (*p & ~lanes) | (value & lanes);
  }
};

// Flag of an op whose predicate operand is !p.
constexpr uint8_t kNegatedVote = 1;
enum class Brings : uint8_t { nothing, votes, words, long_words };  // op.a

// A group of which some lanes are elsewhere: copies of what they bring, and where to take the results.
class ScatteredGroup {
 public:
  // Null unless all `missing` lanes are at an instruction like this one with the membermask `named`, which the lanes
  // `here` name. @throws DeviceFault if one of them waits for one of `here` in another way: neither would ever go on.
  static bool complete(Warp& w, const Op& op, uint32_t named, uint32_t here, uint32_t missing);

  ScatteredGroup(Warp& w, const Op& op, Brings brings, uint32_t here, uint32_t missing);
  const Group& group() const { return group_; }
  // Hands out the results and lets the lanes go on that are not in the current split.
  void finish(Warp& w);

 private:
  struct Part {
    size_t split;
    Group group;
  };
  void add(Warp& w, size_t split, const Op& op, Brings brings, uint32_t lanes);

  std::vector<Part> parts_;
  uint64_t a_[kLanes] = {};
  uint32_t b_[kLanes] = {}, c_[kLanes] = {}, d_[kLanes] = {}, p_ = 0;
  Group group_{};
};

// The operands of an instruction with a membermask: a, b, c, d as decoded, the membermask in e, and a predicate that is
// written in the list.
Group group_in(const Frame& frame, const Op& op, Brings brings, uint32_t lanes);

// Calls body(group) for every group of lanes that name the same membermask and have all come. The other lanes wait for
// theirs. Lanes that have exited are not waited for (PTX ISA: "all non-exited threads corresponding to membermask"),
// nor are those that a short warp has not got.
template <class F>
void for_groups(Warp& w, const Op& op, Brings brings, F&& body) {
  const uint32_t* members = w.lanes<const uint32_t>(op.e);
  const uint32_t here = w.mask, live = w.live();
  uint32_t done = 0;
  for (uint32_t left = here; left;) {
    const uint32_t named = members[__builtin_ctz(left)];
    uint32_t same = 0;
    for (int l = 0; l < kLanes; l++) same |= static_cast<uint32_t>(members[l] == named) << l;
    same &= here;
    left &= ~same;
    if (const uint32_t alien = same & ~named)
      synccheck_fault(w, __builtin_ctz(alien),
                      "lane " + std::to_string(__builtin_ctz(alien)) + " is not in its own membermask");
    const uint32_t group = named & live;
    if (const uint32_t others = group & here & ~same)
      synccheck_fault(w, __builtin_ctz(others), "lanes of one membermask name different ones");
    if (group == same) {
      body(group_in(*w.split().frame, op, brings, group));
    } else if (ScatteredGroup::complete(w, op, named, same, group & ~same)) {
      ScatteredGroup scattered(w, op, brings, same, group & ~same);
      body(scattered.group());
      scattered.finish(w);
    } else {
      continue;
    }
    done |= same;
  }
  if (done == here) return;
  if (done) w.pass(w.current(), done);
  w.wait();
}

// .aligned: true when the warp is here, whole. Such an instruction is undefined for a warp of fewer than 32 threads.
inline bool whole_warp(Warp& w) {
  if (w.mask == kAllLanes) return true;
  if (w.live() != kAllLanes)
    synccheck_fault(w, -1, "the instruction needs all 32 lanes of a warp, and some have exited or never were");
  if (w.active != w.mask)
    synccheck_fault(w, -1, "the instruction needs all 32 lanes of a warp, and its guard keeps some out");
  return w.converged(kAllLanes);
}

}  // namespace vgpu

#pragma once
// Instructions that lanes execute together: who has to come, and who has come.
#include <string>

#include "instructions/lanes.h"
#include "machine/fault.h"
#include "machine/fault.h"

namespace vgpu {

[[noreturn]] inline void fault_of_synchronization(Warp& w, int lane, std::string message) {
  if (lane >= 0) w.fault_lane = lane;
  throw DeviceFault{{FaultKind::illegal_instruction, "synccheck", std::move(message), {}}};
}

// Calls body(members) for every group of lanes that name the same membermask and are all here; w.mask is the group
// meanwhile. The other lanes wait for theirs. Lanes that have exited are not waited for (PTX ISA: "all non-exited
// threads in membermask"), nor are those that a short warp has not got.
template <class F>
void for_groups(Warp& w, uint32_t slot, F&& body) {
  const uint32_t* members = w.lanes<const uint32_t>(slot);
  const uint32_t here = w.mask, live = w.live();
  uint32_t ready = 0;
  for (uint32_t left = here; left;) {
    const int first = __builtin_ctz(left);
    const uint32_t named = members[first];
    if (!(named >> first & 1))
      fault_of_synchronization(w, first, "lane " + std::to_string(first) + " is not in its own membermask");
    const uint32_t group = named & live;
    uint32_t same = 0;
    for (int l = 0; l < kLanes; l++) same |= static_cast<uint32_t>(members[l] == named) << l;
    if (group & here & ~same)
      fault_of_synchronization(w, __builtin_ctz(group & here & ~same), "lanes of one membermask name different ones");
    if (group & w.active & ~here)
      fault_of_synchronization(w, first, "a lane of the membermask is kept out by the instruction's guard");
    if ((group & ~here) == 0) ready |= group;
    left &= ~group;
  }
  for (uint32_t left = ready; left;) {
    const uint32_t group = members[__builtin_ctz(left)] & live;
    left &= ~group;
    w.mask = group;
    body(group);
  }
  if (ready == here) return;
  w.mask = ready | (w.active & ~here);
  if (w.mask) w.jump(w.pc);
  w.wait();
}

// .aligned: true when the warp is here, whole. Such an instruction is undefined for a warp of fewer than 32 threads.
inline bool whole_warp(Warp& w) {
  if (w.mask == kAllLanes) return true;
  if (w.live() != kAllLanes) fault_of_synchronization(w, -1, "the instruction needs all 32 lanes of a warp, and some have exited or never were");
  if (w.active != w.mask) fault_of_synchronization(w, -1, "the instruction needs all 32 lanes of a warp, and its guard keeps some out");
  return w.converged(kAllLanes);
}

}  // namespace vgpu

#include "instructions/convergence.h"

namespace vgpu {
namespace {

std::string hex(uint32_t mask) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

// The lanes of a split that execute its current instruction.
uint32_t lanes_at(const Split& s, const Op& op) {
  if (op.guard == kNone) return s.mask;
  const uint32_t guard = *reinterpret_cast<const uint32_t*>(s.frame->registers + op.guard);
  return s.mask & (op.guard_negated ? ~guard : guard);
}

bool has_membermask(const Routine& r, uint32_t pc) { return r.classes[pc] == OpClass::warp && r.ops[pc].e != kNone; }

}  // namespace

Group group_in(const Frame& frame, const Op& op, Contribution contribution, uint32_t lanes) {
  auto at = [&](uint32_t slot) {
    return slot == kNone ? nullptr : reinterpret_cast<uint32_t*>(frame.registers + slot);
  };
  Group g{lanes, at(op.a), 0, at(op.b), at(op.c), at(op.d), op.count ? at(frame.routine->lists[op.list]) : nullptr};
  if (contribution == Contribution::votes) g.votes = (*at(op.a) ^ (op.flags & kNegatedVote ? kAllLanes : 0)) & lanes;
  return g;
}

bool ScatteredGroup::complete(Warp& w, const Op& op, uint32_t membermask, uint32_t present, uint32_t missing) {
  uint32_t ready = 0;
  for (size_t i = 0; i < w.splits().size(); i++) {
    const Split& s = w.splits()[i];
    const Routine& routine = *s.frame->routine;
    if (i == w.current() || !(s.mask & missing) || !has_membermask(routine, s.pc)) continue;
    const Op& other = routine.ops[s.pc];
    const auto* membermasks = reinterpret_cast<const uint32_t*>(s.frame->registers + other.e);
    for (uint32_t left = lanes_at(s, other) & missing; left; left &= left - 1) {
      const int lane = __builtin_ctz(left);
      if (other.run == op.run && membermasks[lane] == membermask) {
        ready |= 1u << lane;
      } else if (membermasks[lane] & present) {
        synccheck_fault(w, __builtin_ctz(present),
                        "it waits with membermask " + hex(membermask) + " for lane " + std::to_string(lane) +
                            ", which waits for it with membermask " + hex(membermasks[lane]) + " at " +
                            routine.texts[s.pc] + ", PTX line " + std::to_string(routine.lines[s.pc]));
      }
    }
  }
  return ready == missing;
}

ScatteredGroup::ScatteredGroup(Warp& w, const Op& op, Contribution contribution, uint32_t present, uint32_t missing)
    : group_{present | missing, a_, 0, b_, c_, d_, &p_} {
  add(w, w.current(), op, contribution, present);
  for (size_t i = 0; i < w.splits().size(); i++)
    if (const Split& s = w.splits()[i]; i != w.current() && s.mask & missing)
      add(w, i, s.frame->routine->ops[s.pc], contribution, s.mask & missing);
}

void ScatteredGroup::add(Warp& w, size_t split, const Op& op, Contribution contribution, uint32_t lanes) {
  const Group g = group_in(*w.splits()[split].frame, op, contribution, lanes);
  group_.votes |= g.votes;
  for (uint32_t left = lanes; left; left &= left - 1) {
    const int l = __builtin_ctz(left);
    if (contribution == Contribution::words) reinterpret_cast<uint32_t*>(a_)[l] = static_cast<const uint32_t*>(g.a)[l];
    if (contribution == Contribution::long_words) a_[l] = static_cast<const uint64_t*>(g.a)[l];
    if (g.b) b_[l] = g.b[l];
    if (g.c) c_[l] = g.c[l];
  }
  parts_.push_back({split, g});
}

void ScatteredGroup::finish(Warp& w) {
  for (const Part& part : parts_) {
    if (part.group.d) commit(part.group.d, d_, part.group.lanes);
    part.group.set_predicate(p_);
    if (part.split != w.current()) w.pass(part.split, part.group.lanes);
  }
}

}  // namespace vgpu

#include "machine/warp.h"

#include <algorithm>

#include "count/counters.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr int64_t kSlice = 2000;           // instructions of a split before the next split's turn
constexpr uint64_t kLocalBytes = 1 << 16;  // per lane; holds the call stack
constexpr uint32_t kMaxCallDepth = 512;

uint64_t cluster_value(const Block& block, Special which) {
  const LaunchShape& shape = block.launch.shape;
  auto in_cluster = [&](int i) { return block.id[i] % shape.cluster[i]; };
  switch (which) {
    case Special::cluster_ctaid_x: return in_cluster(0);
    case Special::cluster_ctaid_y: return in_cluster(1);
    case Special::cluster_ctaid_z: return in_cluster(2);
    case Special::cluster_nctaid_x: return shape.cluster[0];
    case Special::cluster_nctaid_y: return shape.cluster[1];
    case Special::cluster_nctaid_z: return shape.cluster[2];
    case Special::clusterid_x: return block.id[0] / shape.cluster[0];
    case Special::clusterid_y: return block.id[1] / shape.cluster[1];
    case Special::clusterid_z: return block.id[2] / shape.cluster[2];
    case Special::nclusterid_x: return shape.grid[0] / shape.cluster[0];
    case Special::nclusterid_y: return shape.grid[1] / shape.cluster[1];
    case Special::nclusterid_z: return shape.grid[2] / shape.cluster[2];
    case Special::cluster_ctarank: return block.rank;
    case Special::cluster_nctarank: return shape.cluster_blocks();
    case Special::is_explicit_cluster: return shape.cluster_blocks() > 1;
    default: return 0;
  }
}

uint64_t special_value(const Warp& warp, const Routine::SpecialSlot& slot, int lane, uint32_t local_base) {
  const Block& block = warp.block;
  const LaunchShape& shape = block.launch.shape;
  const Limits& limits = block.launch.limits;
  const Routine& kernel = block.launch.kernel;
  const uint32_t thread = warp.index * kLanes + static_cast<uint32_t>(lane);
  const uint32_t bit = 1u << lane;
  switch (slot.which) {
    case Special::tid_x: return thread % shape.block[0];
    case Special::tid_y: return thread / shape.block[0] % shape.block[1];
    case Special::tid_z: return thread / shape.block[0] / shape.block[1];
    case Special::ntid_x: return shape.block[0];
    case Special::ntid_y: return shape.block[1];
    case Special::ntid_z: return shape.block[2];
    case Special::ctaid_x: return block.id[0];
    case Special::ctaid_y: return block.id[1];
    case Special::ctaid_z: return block.id[2];
    case Special::nctaid_x: return shape.grid[0];
    case Special::nctaid_y: return shape.grid[1];
    case Special::nctaid_z: return shape.grid[2];
    case Special::laneid: return static_cast<uint32_t>(lane);
    case Special::warpid: return warp.index;
    case Special::nwarpid: return (block.threads + kLanes - 1) / kLanes;
    case Special::smid:
      return (block.id[0] + uint64_t{block.id[1]} * shape.grid[0]) / shape.cluster_blocks() % limits.sm_count;
    case Special::nsmid: return limits.sm_count;
    case Special::gridid: return 1;
    case Special::lanemask_eq: return bit;
    case Special::lanemask_le: return bit | (bit - 1);
    case Special::lanemask_lt: return bit - 1;
    case Special::lanemask_ge: return ~(bit - 1);
    case Special::lanemask_gt: return ~(bit - 1) & ~bit;
    case Special::dynamic_smem_size: return shape.dynamic_shared;
    case Special::total_smem_size: return block.shared_bytes - kernel.reserved_shared;
    case Special::aggr_smem_size: return block.shared_bytes;
    case Special::reserved_smem_offset_begin: return 0;
    case Special::reserved_smem_offset_end:
    case Special::reserved_smem_offset_cap: return kernel.reserved_shared;
    case Special::envreg: return 0;
    case Special::grid_workspace_low: return block.launch.workspace() & 0xffffffff;
    case Special::grid_workspace_high: return block.launch.workspace() >> 32;
    case Special::dynamic_shared: {
      const uint64_t alignment = kernel.shared_alignment;
      return kernel.reserved_shared + (kernel.shared_bytes + alignment - 1) / alignment * alignment;
    }
    case Special::shared_variable: return kernel.shared_variables[slot.variable];
    case Special::local_frame: return local_base;
    default: return cluster_value(block, slot.which);
  }
}

}  // namespace

Warp::Warp(Block& block, uint32_t index, uint32_t lanes)
    : block(block), index(index), existing(lanes == kLanes ? kAllLanes : (1u << lanes) - 1) {
  Frame* frame = push_frame(block.launch.kernel, nullptr, 0);
  frame->lanes = existing;
  splits_.push_back({frame, 0, existing});
}

Frame* Warp::push_frame(const Routine& routine, Frame* caller, uint32_t return_to) {
  const uint32_t depth = caller ? caller->depth + 1 : 0;
  if (depth > kMaxCallDepth)
    throw DeviceFault{{FaultKind::hardware_stack_error, "", "calls are nested too deeply: infinite recursion?", {}}};
  std::unique_ptr<Frame> frame;
  for (auto& s : spare_)
    if (s && s->routine == &routine) {
      frame = std::move(s);
      std::swap(s, spare_.back());
      spare_.pop_back();
      break;
    }
  if (!frame) {
    frame = std::make_unique<Frame>();
    frame->routine = &routine;
    frame->memory = std::make_unique<std::byte[]>(routine.frame_bytes + 64);
    const auto at = reinterpret_cast<uintptr_t>(frame->memory.get());
    frame->registers = frame->memory.get() + (64 - at % 64) % 64;
    std::memcpy(frame->registers + routine.constants_begin, routine.constants.data(), routine.constants.size());
  }
  frame->caller = caller;
  frame->return_to = return_to;
  frame->depth = depth;
  frame->call = nullptr;
  frame->counts = block.cluster.counters ? block.cluster.counters->of(routine) : nullptr;
  // Each lane's local memory holds a stack of frames. Frames of splits that call at the same time are stacked too.
  frame->local_base = (local_top_ + 15) / 16 * 16;
  const uint64_t top = frame->arguments() + routine.argument_bytes;
  local_top_ = static_cast<uint32_t>(top);
  if (top > local_bytes_) {
    const uint64_t larger = std::max<uint64_t>({top, 2 * local_bytes_, 256});
    if (larger > kLocalBytes * 8)
      throw DeviceFault{
          {FaultKind::hardware_stack_error, "", "the call stack exceeds the local memory of a thread", {}}};
    std::vector<std::byte> grown(larger * kLanes);
    for (size_t lane = 0; lane < kLanes && local_bytes_ > 0; lane++)
      std::memcpy(grown.data() + lane * larger, local_.data() + lane * local_bytes_, local_bytes_);
    local_ = std::move(grown);
    local_bytes_ = larger;
  }
  for (const auto& s : routine.specials)
    for (int lane = 0; lane < kLanes; lane++) {
      const uint64_t value = special_value(*this, s, lane, frame->local_base) + static_cast<uint64_t>(s.addend);
      std::memcpy(frame->registers + s.offset + static_cast<size_t>(lane) * s.bytes, &value, s.bytes);
    }
  frames_.push_back(std::move(frame));
  return frames_.back().get();
}

// Removes lanes that have left a frame for good.
void Warp::drop_lanes(Frame* frame, uint32_t lanes) {
  frame->lanes &= ~lanes;
  if (frame->lanes) return;
  for (auto& f : frames_) {
    if (f.get() != frame) continue;
    spare_.push_back(std::move(f));
    std::swap(f, frames_.back());
    frames_.pop_back();
    break;
  }
  local_top_ = 0;
  for (const auto& f : frames_)
    local_top_ = std::max(local_top_, static_cast<uint32_t>(f->arguments()) + f->routine->argument_bytes);
}

// --- for handlers ----------------------------------------------------------------------------------------------------

OpCounts* Warp::current_counts() {
  const Frame& frame = *splits_[current_].frame;
  return frame.counts ? frame.counts + (current_op_ - frame.routine->ops.data()) : nullptr;
}

void Warp::jump(uint32_t target) {
  const uint32_t remaining = active & ~mask;
  if (remaining == 0) {
    pc = target;
    event_ = splits_.size() > 1;
    return;
  }
  if (OpCounts* c = current_counts()) c->divergences++;
  Split& s = splits_[current_];
  s.mask = remaining;
  splits_.push_back({s.frame, target, mask});
  active = remaining;
  event_ = true;
}

void Warp::jump_to_each(const uint32_t (&targets)[kLanes]) {
  uint32_t left = mask;
  Frame* const frame = splits_[current_].frame;
  splits_[current_].mask = active & ~mask;
  while (left) {
    const uint32_t target = targets[__builtin_ctz(left)];
    uint32_t group = 0;
    for (int lane = 0; lane < kLanes; lane++)
      if (left >> lane & 1 && targets[lane] == target) group |= 1u << lane;
    splits_.push_back({frame, target, group});
    left &= ~group;
  }
  active &= ~mask;
  event_ = true;
}

void Warp::exit_lanes(uint32_t lanes) {
  exited |= lanes;
  for (Frame* f = splits_[current_].frame; f;) {
    Frame* caller = f->caller;
    drop_lanes(f, lanes);
    f = caller;
  }
  active &= ~lanes;
  splits_[current_].mask = active;
  event_ = true;
}

void Warp::copy_arguments(const Frame& from, const Frame& to, const std::vector<Call::Copy>& copies) {
  for (const auto& c : copies)
    for (int lane = 0; lane < kLanes; lane++)
      if (mask >> lane & 1)
        std::memcpy(local(lane, to.arguments() + c.to), local(lane, from.arguments() + c.from), c.size);
}

void Warp::call(const Routine& routine, const Call& call) {
  Split& s = splits_[current_];
  Frame* const caller = s.frame;
  Frame* const frame = push_frame(routine, caller, pc);
  frame->lanes = mask;
  frame->call = &call;
  copy_arguments(*caller, *frame, call.arguments);
  const uint32_t remaining = active & ~mask;
  splits_.push_back({frame, 0, mask});
  splits_[current_].mask = remaining;  // lanes masked off by the guard continue
  active = remaining;
  event_ = true;
}

void Warp::return_lanes() {
  Frame* const frame = splits_[current_].frame;
  if (!frame->caller) return exit_lanes(mask);
  copy_arguments(*frame, *frame->caller, frame->call->results);
  splits_.push_back({frame->caller, frame->return_to, mask});
  active &= ~mask;
  splits_[current_].mask = active;
  drop_lanes(frame, mask);
  event_ = true;
}

void Warp::wait() {
  if (const uint32_t out = active & ~mask) leave(current_, out, pc);
  waits_ = true;
  event_ = true;
}

void Warp::yield() {
  yielded_ = true;
  event_ = true;
}

void Warp::pass(size_t index, uint32_t lanes) {
  Split& s = splits_[index];
  const uint32_t at = index == current_ ? pc - 1 : s.pc;
  if (s.frame->counts) {
    s.frame->counts[at].executed++;
    s.frame->counts[at].lanes += static_cast<uint64_t>(__builtin_popcount(lanes));
  }
  leave(index, lanes, at + 1);
}

void Warp::leave(size_t index, uint32_t lanes, uint32_t to) {
  Frame* const frame = splits_[index].frame;
  splits_[index].mask &= ~lanes;
  if (index == current_) active &= ~lanes;
  splits_.push_back({frame, to, lanes});
  event_ = true;
}

bool Warp::converged(uint32_t needed) {
  const uint32_t missing = needed & existing & ~mask;
  if (missing == 0) return true;
  wait();
  return false;
}

// --- scheduling ------------------------------------------------------------------------------------------------------

// Merges splits at the same instruction and removes empty ones.
void Warp::tidy() {
  std::erase_if(splits_, [](const Split& s) { return s.mask == 0; });
  std::sort(splits_.begin(), splits_.end(), [](const Split& a, const Split& b) {
    if (a.frame->depth != b.frame->depth) return a.frame->depth > b.frame->depth;
    if (a.pc != b.pc) return a.pc < b.pc;
    return a.frame < b.frame;
  });
  for (size_t i = 0; i + 1 < splits_.size();) {
    Split &a = splits_[i], &b = splits_[i + 1];
    // A split that has arrived stays separate: the other lanes have not arrived yet.
    if (a.frame == b.frame && a.pc == b.pc && !a.arrived && !b.arrived) {
      a.mask |= b.mask;
      a.waiting = false;
      splits_.erase(splits_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    } else {
      i++;
    }
  }
}

// Returns the first split that is not waiting, and once in a while another one, so that lanes polling for another
// lane's action let it happen. Returns splits_.size() if all are waiting.
size_t Warp::choose() {
  if (splits_.size() > 1 && block.cluster.shuffled() && block.cluster.random.below(4) == 0) {
    const size_t other = block.cluster.random.below(static_cast<uint32_t>(splits_.size()));
    if (!splits_[other].waiting) return other;
  }
  if (splits_.size() > 1 && ++turn_ % 64 == 0) {
    const size_t other = turn_ / 64 % splits_.size();
    if (!splits_[other].waiting) return other;
  }
  size_t i = 0;
  while (i < splits_.size() && splits_[i].waiting) i++;
  return i;
}

WarpState Warp::run(int64_t& budget) {
  bool progress = false;
  yielded_ = false;
  for (auto& s : splits_) s.waiting = false;
  const int64_t before = budget;
  while (budget > 0 && !splits_.empty() && !yielded_) {
    const size_t pick = choose();
    if (pick == splits_.size()) break;
    progress = run_split(pick, splits_.size() > 1 ? kSlice : budget, budget) || progress;
    if (splits_.size() > 1 || splits_[0].mask == 0) tidy();
  }
  block.launch.spent.fetch_add(static_cast<uint64_t>(before - budget), std::memory_order_relaxed);
  if (splits_.empty()) return WarpState::done;
  return progress && !yielded_ ? WarpState::progress : WarpState::waiting;
}

bool Warp::run_split(size_t index, int64_t slice, int64_t& budget) {
  current_ = index;
  Split& s = splits_[index];
  const Op* const ops = s.frame->routine->ops.data();
  OpCounts* const counts = s.frame->counts;
  registers = s.frame->registers;
  active = s.mask;
  pc = s.pc;
  event_ = waits_ = false;
  // Sequential code stops where another split can be joined.
  uint32_t stop = UINT32_MAX;
  for (const Split& other : splits_)
    if (other.frame == s.frame && other.pc > pc) stop = std::min(stop, other.pc);
  const int64_t granted = std::min(slice, budget);
  int64_t left = granted;
  const Op* op;
  uint32_t m;
  do {
    op = ops + pc++;
    m = active;
    if (op->guard != kNone) m &= op->guard_negated ? ~predicate(op->guard) : predicate(op->guard);
    left--;
    if (counts) {
      counts[op - ops].executed++;
      counts[op - ops].lanes += static_cast<uint64_t>(__builtin_popcount(m));
    }
    if (m == 0) continue;
    mask = m;
    current_op_ = op;
    op->run(*this, *op);
    if (event_) break;
  } while (pc != stop && left > 0);
  budget -= granted - left;
  Split& now = splits_[current_];  // splits_ may have been reallocated
  if (waits_) {
    if (counts) {  // a waiting instruction is counted when it completes
      counts[op - ops].executed--;
      counts[op - ops].lanes -= static_cast<uint64_t>(__builtin_popcount(m));
    }
    now.pc = static_cast<uint32_t>(op - ops);
    now.waiting = true;
    return granted - left > 1;
  }
  now.pc = pc;
  return true;
}

}  // namespace vgpu

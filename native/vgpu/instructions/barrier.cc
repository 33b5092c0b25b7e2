// PTX ISA, "Parallel Synchronization and Communication Instructions": bar, barrier.
#include <algorithm>

#include "check/monitor.h"
#include "instructions/convergence.h"
#include "instructions/list.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr uint8_t kAligned = 1, kArrive = 2, kAll = 4;
constexpr uint8_t kPopc = 8, kAnd = 16, kOr = 32, kReduction = kPopc | kAnd | kOr, kNegated = 64;  // for bar.red

[[noreturn]] void misuse(std::string message) {
  throw DeviceFault{{FaultKind::illegal_instruction, "synccheck", std::move(message), {}}};
}

// The operand's value, which must be the same in all lanes in mask.
uint32_t uniform(Warp& w, uint32_t slot, const char* what) {
  const uint32_t* v = w.lanes<const uint32_t>(slot);
  const uint32_t first = v[__builtin_ctz(w.mask)];
  for (int l = 0; l < kLanes; l++)
    if (w.mask >> l & 1 && v[l] != first) misuse(std::string(what) + " differs between the lanes of a warp");
  return first;
}

// For .aligned all live lanes of the warp must reach the barrier together.
bool converge_if_aligned(Warp& w, const Op& op) {
  if (!(op.flags & kAligned)) return true;
  if (w.active != w.mask) misuse("an .aligned barrier has a guard that differs between the lanes of the warp");
  return w.converged(w.live());
}

uint32_t whole_warps(uint32_t threads) { return (threads + kLanes - 1) / kLanes * kLanes; }

// The lanes of w.mask arrive at the barrier.
void arrive(Warp& w, const Op& op, uint32_t id) {
  Block& block = w.block;
  NamedBarrier& barrier = block.barriers[id];
  const std::string name = "barrier " + std::to_string(id);
  uint32_t expected = whole_warps(block.threads);
  if (!(op.flags & kAll)) {
    expected = uniform(w, op.b, "the number of threads");
    if (expected == 0 || expected % kLanes != 0 || expected > 1024)
      misuse("a barrier of " + std::to_string(expected) + " threads: expected a multiple of 32");
  }
  const uint8_t reduction = op.flags & kReduction;
  if (barrier.expected == 0) {
    barrier.expected = expected;
    barrier.reduction = reduction;
  }
  if (barrier.expected != expected)
    misuse(name + " is used with " + std::to_string(barrier.expected) + " and with " + std::to_string(expected) +
           " threads");
  if (barrier.reduction != reduction) misuse(name + " is used by bar.red and otherwise in the same phase");
  barrier.all |= (op.flags & kAll) != 0;
  if (barrier.arrived[w.index] & w.mask) misuse(name + ": lanes arrive again before it is complete");
  barrier.arrived[w.index] |= w.mask;
  if (reduction) {
    const uint32_t votes = (w.predicate(op.c) ^ (op.flags & kNegated ? kAllLanes : 0)) & w.mask;
    barrier.count += static_cast<uint32_t>(__builtin_popcount(votes));
    barrier.voters += static_cast<uint32_t>(__builtin_popcount(w.mask));
  }
  if (!(op.flags & kArrive)) barrier.waiting++;
  if (Monitor* m = block.launch.monitor.get()) m->release(w, Monitor::barrier_object(block, id, barrier.phase));
}

bool complete(const Block& block, const NamedBarrier& barrier) {
  uint32_t arrived = 0;
  bool all_arrived = true;
  for (const auto& warp : block.warps) {
    const bool warp_arrived = (warp->live() & ~barrier.arrived[warp->index]) == 0;
    all_arrived = all_arrived && warp_arrived;
    arrived += warp_arrived && barrier.arrived[warp->index] ? kLanes : 0;
  }
  return arrived >= barrier.expected || (barrier.all && all_arrived);
}

void begin_next_phase(Block& block, uint32_t id) {
  NamedBarrier& barrier = block.barriers[id];
  for (const auto& warp : block.warps)
    if (barrier.arrived[warp->index] && warp->live() & ~barrier.arrived[warp->index])
      misuse("more threads arrive at barrier " + std::to_string(id) + " than it expects");
  if (barrier.waiting)
    barrier.outcomes.push_back({barrier.phase, barrier.count, barrier.voters, barrier.waiting});
  else if (Monitor* m = block.launch.monitor.get())
    m->forget(Monitor::barrier_object(block, id, barrier.phase));
  barrier.phase++;
  barrier.expected = barrier.count = barrier.voters = barrier.waiting = 0;
  barrier.all = false;
  barrier.arrived.fill(0);
}

// Called when the current split, which waited, continues.
NamedBarrier::Outcome take_outcome(Warp& w, uint32_t id, uint64_t phase) {
  auto& outcomes = w.block.barriers[id].outcomes;
  const auto found = std::find_if(outcomes.begin(), outcomes.end(), [&](const auto& o) { return o.phase == phase; });
  const NamedBarrier::Outcome outcome = *found;
  Monitor* const m = w.block.launch.monitor.get();
  if (m) m->acquire(w, Monitor::barrier_object(w.block, id, phase));
  if (--found->waiting == 0) {
    outcomes.erase(found);
    if (m) m->forget(Monitor::barrier_object(w.block, id, phase));
  }
  return outcome;
}

// a: barrier; b: number of threads (without kAll); c: the predicate of bar.red.
void run_barrier(Warp& w, const Op& op) {
  Split& split = w.split();
  const uint32_t id = uniform(w, op.a, "the barrier");
  if (id >= 16) misuse("barrier " + std::to_string(id) + " does not exist: there are 16");
  NamedBarrier& barrier = w.block.barriers[id];
  if (!split.arrived) {
    if (!converge_if_aligned(w, op)) return;
    arrive(w, op, id);
    split.ticket = barrier.phase;
    split.arrived = true;
  }
  if (barrier.phase == split.ticket && complete(w.block, barrier)) begin_next_phase(w.block, id);
  if (!(op.flags & kArrive) && barrier.phase == split.ticket) return w.wait();
  split.arrived = false;
  if (op.flags & kArrive) return;
  const NamedBarrier::Outcome outcome = take_outcome(w, id, split.ticket);
  if (op.flags & kPopc) {
    uint32_t r[kLanes];
    std::fill_n(r, kLanes, outcome.count);
    commit(w.lanes<uint32_t>(op.d), r, w.mask);
  } else if (op.flags & kReduction) {
    w.set_predicate(op.d, (op.flags & kAnd ? outcome.count == outcome.voters : outcome.count > 0) ? kAllLanes : 0);
  }
}

// bar.red.popc.u32 d, a{, b}, {!}c; bar.red.{and,or}.pred p, a{, b}, {!}c
void decode_reduction(Decoding& i, bool aligned) {
  const int which = i.one_of({"popc", "and", "or"});
  if (!aligned) aligned = i.take("aligned");
  i.type({which == 0 ? Type::u32 : Type::pred});
  i.expect(3, 4);
  const bool all = i.operands() == 3;
  bool negated = false;
  i.op().a = i.read(1, Type::u32);
  if (!all) i.op().b = i.read(2, Type::u32);
  i.op().c = i.read_predicate(i.operand(all ? 2 : 3), negated);
  i.op().d = which == 0 ? i.write(0, Type::u32) : i.write_predicate(i.operand(0));
  i.op().flags = static_cast<uint8_t>((aligned ? kAligned : 0) | (all ? kAll : 0) | (negated ? kNegated : 0) |
                                      (which == 0   ? kPopc
                                       : which == 1 ? kAnd
                                                    : kOr));
  i.run(run_barrier, OpClass::barrier);
}

void run_warp_barrier(Warp& w, const Op& op) {
  for_groups(w, op, Contribution::none, [](const Group&) {});
}

// --- barrier.cluster -------------------------------------------------------------------------------------------------

uint64_t cluster_object(const Warp& w, uint64_t phase) {
  return uint64_t{3} << 62 | w.block.cluster.index << 16 | (phase & 0xffff);
}

void run_cluster_arrive(Warp& w, const Op& op) {
  if (!converge_if_aligned(w, op)) return;
  if (w.cluster_unwaited & w.mask) misuse("barrier.cluster.arrive twice without a wait");
  w.cluster_unwaited |= w.mask;
  w.cluster_arrivals |= w.mask;
  if (Monitor* m = w.block.launch.monitor.get()) m->release(w, cluster_object(w, w.block.cluster.barrier_phase));
}

// Exited threads are not waited for.
void complete_cluster_phase(Cluster& cluster) {
  for (const auto& block : cluster.blocks)
    for (const auto& warp : block->warps)
      if (warp->live() & ~warp->cluster_arrivals) return;
  cluster.barrier_phase++;
  for (const auto& block : cluster.blocks)
    for (const auto& warp : block->warps) warp->cluster_arrivals = 0;
}

void run_cluster_wait(Warp& w, const Op& op) {
  if (!converge_if_aligned(w, op)) return;
  if (w.mask & ~w.cluster_unwaited) misuse("barrier.cluster.wait without a preceding arrive");
  Cluster& cluster = w.block.cluster;
  if (w.cluster_arrivals & w.mask) complete_cluster_phase(cluster);
  if (w.cluster_arrivals & w.mask) return w.wait();
  w.cluster_unwaited &= ~w.mask;
  // Only the phase in which these lanes took part can have completed since they arrived.
  if (Monitor* m = w.block.launch.monitor.get()) m->acquire(w, cluster_object(w, cluster.barrier_phase - 1));
}

// barrier.cluster.arrive{.release, .relaxed}{.aligned}; barrier.cluster.wait{.acquire}{.aligned}
void decode_cluster_barrier(Decoding& i) {
  const bool arrive = i.one_of({"arrive", "wait"}) == 0;
  if (arrive)
    i.take_any({"release", "relaxed"});
  else
    i.take("acquire");
  i.op().flags = i.take("aligned") ? kAligned : 0;
  i.expect(0);
  i.run(arrive ? run_cluster_arrive : run_cluster_wait, OpClass::barrier);
}

// bar{.cta}.sync a{, b}; bar.arrive a, b; barrier{.cta}.sync{.aligned}; bar.warp.sync membermask
void decode_barrier(Decoding& i, bool aligned) {
  if (aligned && i.take("warp")) {
    i.one_of({"sync"});
    i.expect(1);
    i.op().e = i.read(0, Type::b32);
    return i.run(run_warp_barrier, OpClass::warp);
  }
  if (!aligned && i.take("cluster")) return decode_cluster_barrier(i);
  i.take("cta");
  if (i.take("red")) return decode_reduction(i, aligned);
  const bool arrive = i.one_of({"sync", "arrive"}) == 1;
  if (!aligned) aligned = i.take("aligned");
  i.expect(arrive ? 2 : 1, 2);
  i.op().a = i.read(0, Type::u32);
  if (i.operands() == 2) i.op().b = i.read(1, Type::u32);
  i.op().flags =
      static_cast<uint8_t>((aligned ? kAligned : 0) | (arrive ? kArrive : 0) | (i.operands() == 1 ? kAll : 0));
  i.run(run_barrier, OpClass::barrier);
}

void bar(Decoding& i) { decode_barrier(i, true); }
void barrier(Decoding& i) { decode_barrier(i, false); }

}  // namespace

std::span<const Opcode> barrier_opcodes() {
  static const Opcode table[] = {{"bar", bar}, {"barrier", barrier}};
  return table;
}

}  // namespace vgpu

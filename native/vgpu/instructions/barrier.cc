// PTX ISA, "Parallel Synchronization and Communication Instructions": bar, barrier.
#include <algorithm>
#include <utility>

#include "check/monitor.h"
#include "instructions/convergence.h"
#include "instructions/list.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr uint8_t kAligned = 1, kArrive = 2, kAll = 4;
constexpr uint8_t kPopc = 8, kAnd = 16, kOr = 32, kNegated = 64;  // of bar.red

[[noreturn]] void misuse(std::string message) {
  throw DeviceFault{{FaultKind::illegal_instruction, "synccheck", std::move(message), {}}};
}

// The value of a lane in mask; that of all, since .aligned operands are uniform.
uint32_t uniform(Warp& w, uint32_t slot, const char* what) {
  const uint32_t* v = w.lanes<const uint32_t>(slot);
  const uint32_t first = v[__builtin_ctz(w.mask)];
  for (int l = 0; l < kLanes; l++)
    if (w.mask >> l & 1 && v[l] != first) misuse(std::string(what) + " differs between the lanes of a warp");
  return first;
}

// a: barrier, b: threads (all of the block with kAll).
void run_barrier(Warp& w, const Op& op) {
  Split& split = w.split();
  Block& block = w.block;
  const uint32_t id = uniform(w, op.a, "the barrier");
  if (id >= 16) misuse("barrier " + std::to_string(id) + ": there are 16");
  NamedBarrier& barrier = block.barriers[id];
  if (!split.arrived) {
    // Every live lane of the warp must come to an aligned barrier at once.
    if (op.flags & kAligned && !w.converged(w.live())) return;
    uint32_t expected = block.threads - block.exited_threads;
    if (!(op.flags & kAll)) {
      expected = uniform(w, op.b, "the number of threads");
      if (expected == 0 || expected % kLanes != 0 || expected > 1024)
        misuse("a barrier of " + std::to_string(expected) + " threads: a multiple of 32 is needed");
    }
    // A warp counts as 32 threads; those it has not got, or no longer, come with its first lane.
    const bool first = (w.mask & (w.live() & -w.live())) != 0;
    barrier.arrived += static_cast<uint32_t>(__builtin_popcount(w.mask) + (first ? kLanes - __builtin_popcount(w.live()) : 0));
    if (!(op.flags & kAll)) {
      if (barrier.expected != 0 && barrier.expected != expected)
        misuse("barrier " + std::to_string(id) + " is used with " + std::to_string(barrier.expected) + " and with " + std::to_string(expected) + " threads");
      barrier.expected = expected;
      if (barrier.arrived > expected) misuse("more threads come to barrier " + std::to_string(id) + " than it expects");
    }
    if (op.flags & (kPopc | kAnd | kOr)) {
      const uint32_t votes = (w.predicate(op.c) ^ (op.flags & kNegated ? kAllLanes : 0)) & w.mask;
      barrier.count += static_cast<uint32_t>(__builtin_popcount(votes));
      barrier.all &= votes == w.mask;
      barrier.any |= votes != 0;
    }
    split.ticket = barrier.phase;
    if (Monitor* m = block.launch.monitor.get()) m->release(w, Monitor::barrier_object(block, id, barrier.phase));
    split.arrived = true;
  }
  const uint32_t expected = barrier.expected ? barrier.expected : block.expected_at_barrier();
  if (barrier.phase == split.ticket && barrier.arrived >= expected) {
    barrier.phase++;
    barrier.arrived = barrier.expected = 0;
    barrier.result_count = std::exchange(barrier.count, 0);
    barrier.result_all = std::exchange(barrier.all, 1);
    barrier.result_any = std::exchange(barrier.any, 0);
  }
  if (!(op.flags & kArrive) && barrier.phase == split.ticket) return w.wait();
  split.arrived = false;
  if (op.flags & kArrive) return;
  if (op.flags & kPopc) {
    uint32_t r[kLanes];
    std::fill_n(r, kLanes, barrier.result_count);
    commit(w.lanes<uint32_t>(op.d), r, w.mask);
  } else if (op.flags & (kAnd | kOr)) {
    w.set_predicate(op.d, (op.flags & kAnd ? barrier.result_all : barrier.result_any) ? kAllLanes : 0);
  }
  if (Monitor* m = block.launch.monitor.get()) {
    m->acquire(w, Monitor::barrier_object(block, id, split.ticket));
    m->forget(Monitor::barrier_object(block, id, split.ticket - 2));  // which all have left
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
                                      (which == 0 ? kPopc : which == 1 ? kAnd : kOr));
  i.run(run_barrier, OpClass::barrier);
}

void run_warp_barrier(Warp& w, const Op& op) {
  for_groups(w, op.a, [](uint32_t) {});
}

// --- barrier.cluster --------------------------------------------------------------------------------------------------

uint64_t cluster_object(const Warp& w, uint64_t phase) { return uint64_t{3} << 62 | w.block.cluster.index << 16 | (phase & 0xffff); }

void run_cluster_arrive(Warp& w, const Op& op) {
  if (op.flags & kAligned && !w.converged(w.live())) return;
  if (w.cluster_arrived & w.mask) misuse("barrier.cluster.arrive twice without a wait");
  ClusterBarrier& barrier = w.block.cluster.barrier;
  w.cluster_arrived |= w.mask;
  w.cluster_ticket = barrier.phase;
  barrier.arrived += static_cast<uint32_t>(__builtin_popcount(w.mask));
  if (Monitor* m = w.block.launch.monitor.get()) m->release(w, cluster_object(w, barrier.phase));
}

void run_cluster_wait(Warp& w, const Op& op) {
  if (op.flags & kAligned && !w.converged(w.live())) return;
  if (w.mask & ~w.cluster_arrived) misuse("barrier.cluster.wait without an arrive before it");
  Cluster& cluster = w.block.cluster;
  uint32_t expected = 0;  // threads that have exited count as arrived
  for (const auto& block : cluster.blocks)
    for (const auto& warp : block->warps) expected += static_cast<uint32_t>(__builtin_popcount(warp->live()));
  if (cluster.barrier.phase == w.cluster_ticket && cluster.barrier.arrived >= expected) {
    cluster.barrier.phase++;
    cluster.barrier.arrived = 0;
  }
  if (cluster.barrier.phase == w.cluster_ticket) return w.wait();
  w.cluster_arrived &= ~w.mask;
  if (Monitor* m = w.block.launch.monitor.get()) m->acquire(w, cluster_object(w, w.cluster_ticket));
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
    i.op().a = i.read(0, Type::b32);
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
  i.op().flags = static_cast<uint8_t>((aligned ? kAligned : 0) | (arrive ? kArrive : 0) | (i.operands() == 1 ? kAll : 0));
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

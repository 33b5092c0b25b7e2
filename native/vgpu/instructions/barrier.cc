// PTX ISA, "Parallel Synchronization and Communication Instructions": bar, barrier.
#include "instructions/lanes.h"
#include "instructions/list.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr uint8_t kAligned = 1, kArrive = 2, kAll = 4;

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
    split.ticket = barrier.phase;
    split.arrived = true;
  }
  const uint32_t expected = barrier.expected ? barrier.expected : block.expected_at_barrier();
  if (barrier.phase == split.ticket && barrier.arrived >= expected) {
    barrier.phase++;
    barrier.arrived = barrier.expected = 0;
  }
  if (op.flags & kArrive) return;
  if (barrier.phase == split.ticket) w.wait();
}

// bar{.cta}.sync a{, b}; bar.arrive a, b; barrier{.cta}.sync{.aligned}
void decode_barrier(Decoding& i, bool aligned) {
  i.take("cta");
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

// PTX ISA: mapa and getctarank for the blocks of a cluster (barrier.cluster is in barrier.cc), and instructions that
// control a kernel's resources: setmaxnreg, griddepcontrol.
#include "instructions/convergence.h"
#include "instructions/list.h"
#include "machine/address.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr uint8_t kWide = 1, kWindowed = 2;

// a: an address in shared memory; b: a rank. The result is the corresponding address in that block.
void run_mapa(Warp& w, const Op& op) {
  const uint32_t* rank = w.lanes<const uint32_t>(op.b);
  const auto blocks = static_cast<uint32_t>(w.block.cluster.blocks.size());
  for (int l = 0; l < kLanes; l++) {
    if (!(w.mask >> l & 1)) continue;
    if (rank[l] >= blocks) {
      w.fault_lane = l;
      throw DeviceFault{{FaultKind::illegal_address,
                         "memcheck",
                         "mapa: rank " + std::to_string(rank[l]) + " of a cluster of " + std::to_string(blocks),
                         {}}};
    }
    uint64_t address = op.flags & kWide ? w.lanes<const uint64_t>(op.a)[l] : w.lanes<const uint32_t>(op.a)[l];
    const uint64_t window = op.flags & kWindowed ? kSharedWindow : 0;
    const uint64_t offset = address & ((uint64_t{1} << kRankShift) - 1);
    address = window + (uint64_t{rank[l] + 1} << kRankShift | offset);
    if (op.flags & kWide)
      w.lanes<uint64_t>(op.d)[l] = address;
    else
      w.lanes<uint32_t>(op.d)[l] = static_cast<uint32_t>(address);
  }
}

// mapa{.shared::cluster}.type d, a, b
void mapa(Decoding& i) {
  i.needs(90);
  const bool shared = i.take("shared::cluster");
  const Type t = i.type({Type::u32, Type::u64});
  i.expect(3);
  if (!shared && t == Type::u32) i.fail("a generic address has 64 bits");
  i.op().a = i.read(1, t);
  i.op().b = i.read(2, Type::u32);
  i.op().d = i.write(0, t);
  i.op().flags = static_cast<uint8_t>((t == Type::u64 ? kWide : 0) | (shared ? 0 : kWindowed));
  i.run(run_mapa, OpClass::integer);
}

void run_getctarank(Warp& w, const Op& op) {
  uint32_t* d = w.lanes<uint32_t>(op.d);
  for (int l = 0; l < kLanes; l++) {
    if (!(w.mask >> l & 1)) continue;
    uint64_t address = op.flags & kWide ? w.lanes<const uint64_t>(op.a)[l] : w.lanes<const uint32_t>(op.a)[l];
    if (op.flags & kWindowed) address -= kSharedWindow;
    const uint64_t tag = address >> kRankShift;
    d[l] = tag == 0 ? w.block.rank : static_cast<uint32_t>(tag - 1);
  }
}

void getctarank(Decoding& i) {
  i.needs(90);
  const bool shared = i.take("shared::cluster");
  const Type t = i.type({Type::u32, Type::u64});
  i.expect(2);
  if (!shared && t == Type::u32) i.fail("a generic address has 64 bits");
  i.op().a = i.read(1, t);
  i.op().d = i.write(0, Type::u32);
  i.op().flags = static_cast<uint8_t>((t == Type::u64 ? kWide : 0) | (shared ? 0 : kWindowed));
  i.run(run_getctarank, OpClass::integer);
}

void run_collective(Warp& w, const Op&) { whole_warp(w); }
void run_nothing(Warp&, const Op&) {}

// Registers are not limited here; the only check is that the whole warp executes the instruction.
void setmaxnreg(Decoding& i) {
  i.needs(90, true);
  i.one_of({"inc", "dec"});
  i.one_of({"sync"});
  i.one_of({"aligned"});
  i.type({Type::u32});
  i.expect(1);
  if (i.immediate(0, 24, 256) % 8 != 0) i.fail("the number of registers must be a multiple of 8");
  i.run(run_collective, OpClass::other);
}

// Kernels run one after the other, so dependencies are complete before a kernel begins.
void griddepcontrol(Decoding& i) {
  i.needs(90);
  i.one_of({"launch_dependents", "wait"});
  i.expect(0);
  i.run(run_nothing, OpClass::other);
}

}  // namespace

std::span<const Opcode> cluster_opcodes() {
  static const Opcode table[] = {
      {"getctarank", getctarank}, {"griddepcontrol", griddepcontrol}, {"mapa", mapa}, {"setmaxnreg", setmaxnreg}};
  return table;
}

}  // namespace vgpu

// PTX ISA, "Data Movement and Conversion Instructions: Bulk copy" and "Tensor copy".
#include "instructions/bulk_copy.h"

#include "instructions/lanes.h"
#include "machine/address.h"
#include "machine/block.h"

namespace vgpu {
namespace {

// What a copy's decoder tells its handler, besides the registers in Op::list: destination, source, then, as far as the
// form has them, size, mbarrier, the block mask of a multicast, and the coordinates.
struct Form {
  uint8_t to_shared : 1, tensor : 1, reads_shared : 1, multicast : 1;
  uint8_t narrow;  // addresses in registers of 32 bits: a bit for each in order
  uint8_t rank;
};
static_assert(sizeof(Form) <= 8);

struct SharedPlace {
  Block* block;
  uint64_t offset;
};

SharedPlace shared_place(Warp& w, int lane, uint64_t address) {
  if ((address & ~(kWindowBytes - 1)) == kSharedWindow) address -= kSharedWindow;
  if (address >> kRankShift == 0) return {&w.block, address};
  const uint64_t rank = (address >> kRankShift) - 1;
  if (rank >= w.block.cluster.blocks.size()) {
    w.fault_lane = lane;
    throw DeviceFault{{FaultKind::illegal_address, "memcheck", "bulk copy: no block of the cluster has that shared memory", {}}};
  }
  return {w.block.cluster.blocks[rank].get(), address & ((uint64_t{1} << kRankShift) - 1)};
}

void run_bulk(Warp& w, const Op& op) {
  Form form;
  std::memcpy(&form, &op.imm, sizeof form);
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  for (uint32_t left = w.mask; left; left &= left - 1) {
    const int l = __builtin_ctz(left);
    uint32_t next = 0;
    auto address = [&] {
      const uint32_t slot = slots[next];
      return form.narrow >> next++ & 1 ? w.lanes<const uint32_t>(slot)[l] : w.lanes<const uint64_t>(slot)[l];
    };
    auto word = [&] { return w.lanes<const uint32_t>(slots[next++])[l]; };
    BulkCopy c{};
    c.lane = l;
    c.to_shared = form.to_shared;
    c.tensor = form.tensor;
    c.reads_shared = form.reads_shared;
    const uint64_t shared_address = address(), other = address();
    const SharedPlace place = shared_place(w, l, shared_address);
    c.shared = place.offset;
    c.targets = {place.block};
    if (form.tensor)
      std::memcpy(&c.map, resolve_one(w, Space::generic, other, sizeof c.map, Access::read, l), sizeof c.map);
    else if (form.reads_shared)
      c.from_shared = shared_place(w, l, other).offset;
    else
      c.global = other;
    if (!form.tensor) c.bytes = word();
    if (form.to_shared) {
      const SharedPlace barrier = shared_place(w, l, address());
      c.mbarrier = barrier.offset;
      if (!form.multicast && barrier.block != place.block) {
        w.fault_lane = l;
        throw DeviceFault{{FaultKind::illegal_address, "memcheck", "bulk copy: the mbarrier object is in another block than the destination", {}}};
      }
    }
    if (form.multicast) {
      const uint16_t blocks = w.lanes<const uint16_t>(slots[next++])[l];
      c.targets.clear();
      for (size_t rank = 0; rank < w.block.cluster.blocks.size(); rank++)
        if (blocks >> rank & 1) c.targets.push_back(w.block.cluster.blocks[rank].get());
    }
    for (int d = 0; d < form.rank; d++) c.at[d] = static_cast<int32_t>(word());
    if (form.tensor && c.map.magic == kTensorMapMagic && c.map.rank != form.rank) {
      w.fault_lane = l;
      throw DeviceFault{{FaultKind::illegal_instruction, "memcheck", "bulk copy: the tensor map has " + std::to_string(c.map.rank) + " dimensions", {}}};
    }
    c.group = w.bulk.groups(l);
    w.bulk.issue(w, std::move(c));
  }
}

// An address as these instructions have it in practice: a register without offset.
void append_address(Decoding& i, Form& form, const Operand& o, Space space) {
  uint32_t base = kNone;
  int64_t offset = 0;
  bool narrow = false;
  i.address(o, space, base, offset, narrow);
  if (offset != 0) i.fail("an offset to the address is not supported");
  if (narrow) form.narrow |= static_cast<uint8_t>(1u << i.op().count);
  i.append(base);
}

void bulk_copy(Decoding& i, Form form) {
  // .dst.src
  const bool to_shared = i.take_any({"shared::cluster", "shared::cta"}) >= 0;
  if (!to_shared) i.one_of({"global"});
  form.to_shared = to_shared;
  if (to_shared)
    form.reads_shared = i.one_of({"global", "shared::cta"}) == 1;
  else
    i.one_of({"shared::cta"});
  i.one_of({to_shared ? "mbarrier::complete_tx::bytes" : "bulk_group"});
  form.multicast = to_shared && !form.reads_shared && i.take("multicast::cluster");
  const bool hinted = i.take("L2::cache_hint");
  // [dst], [src], size {, [mbar]} {, mask} {, policy}
  i.expect(3u + to_shared + form.multicast + hinted);
  const size_t shared = to_shared ? 0 : 1, other = to_shared ? 1 : 0;
  append_address(i, form, i.operand(shared), Space::shared);
  append_address(i, form, i.operand(other), form.reads_shared ? Space::shared : Space::global);
  i.append(i.read(2, Type::u32));
  if (to_shared) append_address(i, form, i.operand(3), Space::shared);
  if (form.multicast) i.append(i.read(4, Type::b16));
  if (hinted) i.read(i.operands() - 1, Type::b64);
  std::memcpy(&i.op().imm, &form, sizeof form);
  i.run(run_bulk, OpClass::async);
}

void tensor_copy(Decoding& i, Form form) {
  form.tensor = true;
  form.rank = static_cast<uint8_t>(1 + i.one_of({"1d", "2d", "3d", "4d", "5d"}));
  const bool to_shared = i.take_any({"shared::cluster", "shared::cta"}) >= 0;
  if (!to_shared) i.one_of({"global"});
  form.to_shared = to_shared;
  i.one_of({to_shared ? "global" : "shared::cta"});
  i.take("tile");
  i.one_of({to_shared ? "mbarrier::complete_tx::bytes" : "bulk_group"});
  form.multicast = to_shared && i.take("multicast::cluster");
  const bool hinted = i.take("L2::cache_hint");
  i.expect(2u + to_shared + form.multicast + hinted);
  const Operand& tensor = i.operand(to_shared ? 1 : 0);
  if (tensor.kind != Operand::Kind::address || tensor.parts.size() != 1 || tensor.parts[0].parts.size() != form.rank)
    i.fail("takes [map, {" + std::to_string(form.rank) + " coordinates}]");
  append_address(i, form, i.operand(to_shared ? 0 : 1), Space::shared);
  Operand map = tensor;
  map.parts.clear();
  append_address(i, form, map, Space::generic);
  if (to_shared) append_address(i, form, i.operand(2), Space::shared);
  if (form.multicast) i.append(i.read(3, Type::b16));
  for (const Operand& o : tensor.parts[0].parts) i.append(i.read(o, Type::s32));
  if (hinted) i.read(i.operands() - 1, Type::b64);
  std::memcpy(&i.op().imm, &form, sizeof form);
  i.run(run_bulk, OpClass::async);
}

void run_commit(Warp& w, const Op&) { w.bulk.commit(w, w.mask); }
void run_wait(Warp& w, const Op& op) { w.bulk.wait_group(w, w.mask, static_cast<uint32_t>(op.imm), op.flags != 0); }
void run_nothing(Warp&, const Op&) {}

}  // namespace

void decode_bulk_copy(Decoding& i) {
  if (i.take("commit_group")) {
    i.expect(0);
    return i.run(run_commit, OpClass::async);
  }
  if (i.take("wait_group")) {
    i.op().flags = i.take("read");
    i.expect(1);
    i.op().imm = i.immediate(0, 0, INT32_MAX);
    return i.run(run_wait, OpClass::async);
  }
  if (i.take("prefetch")) {  // says nothing about values
    if (i.take("tensor")) {
      const int rank = 1 + i.one_of({"1d", "2d", "3d", "4d", "5d"});
      i.one_of({"L2"});
      i.one_of({"global"});
      i.take("tile");
      const bool hinted = i.take("L2::cache_hint");
      i.expect(1 + hinted);
      const Operand& tensor = i.operand(0);
      if (tensor.parts.size() != 1 || tensor.parts[0].parts.size() != static_cast<size_t>(rank)) i.fail("coordinates are missing");
      for (const Operand& o : tensor.parts[0].parts) i.read(o, Type::s32);
    } else {
      i.one_of({"L2"});
      i.one_of({"global"});
      const bool hinted = i.take("L2::cache_hint");
      i.expect(2 + hinted);
      i.read(1, Type::u32);
    }
    return i.run(run_nothing, OpClass::async);
  }
  Form form{};
  if (i.take("tensor")) return tensor_copy(i, form);
  bulk_copy(i, form);
}

}  // namespace vgpu

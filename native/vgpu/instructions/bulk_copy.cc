// PTX ISA, "Data Movement and Conversion Instructions: Bulk copy" and "Tensor copy".
#include "instructions/bulk_copy.h"

#include "instructions/lanes.h"
#include "machine/address.h"
#include "machine/block.h"
#include "machine/reduction.h"

namespace vgpu {
namespace {

// The decoded form of a copy, kept in op.imm. Op::list holds destination and source, and as far as the form has them,
// size, mbarrier, block mask of a multicast and coordinates. An address takes two entries, base and offset.
struct Form {
  uint8_t to_shared : 1, tensor : 1, reads_shared : 1, multicast : 1;
  uint8_t narrow;  // a bit per entry of the list: the base is in a 32-bit register
  uint8_t rank;
  Reduction reduction;
  Type type;       // of a reduction's elements if no tensor map gives it; of stored values
  uint8_t values;  // number of values of st.async and red.async
};
static_assert(sizeof(Form) <= 8);

[[noreturn]] void fault(Warp& w, int lane, std::string message, FaultKind kind = FaultKind::illegal_address) {
  w.fault_lane = lane;
  throw DeviceFault{{kind, "memcheck", "bulk copy: " + std::move(message), {}}};
}

struct SharedLocation {
  Block* block;
  uint64_t offset;
};

SharedLocation shared_location(Warp& w, int lane, uint64_t address) {
  if ((address & ~(kWindowBytes - 1)) == kSharedWindow) address -= kSharedWindow;
  if (address >> kRankShift == 0) return {&w.block, address};
  const uint64_t rank = (address >> kRankShift) - 1;
  if (rank >= w.block.cluster.blocks.size())
    fault(w, lane, "the address is in the shared memory of no block of the cluster");
  return {w.block.cluster.blocks[rank].get(), address & ((uint64_t{1} << kRankShift) - 1)};
}

// Reads a lane's operands from Op::list one after the other.
class Arguments {
 public:
  Arguments(Warp& w, const Op& op, const Form& form, int lane)
      : w_(w), slots_(w.split().frame->routine->lists.data() + op.list), form_(form), lane_(lane) {}

  uint64_t address() {
    const uint64_t offset = w_.lanes<const uint64_t>(slots_[next_ + 1])[lane_];
    const bool narrow = form_.narrow >> next_ & 1;
    const uint32_t slot = slots_[next_];
    next_ += 2;
    if (!narrow) return w_.lanes<const uint64_t>(slot)[lane_] + offset;
    return static_cast<uint32_t>(w_.lanes<const uint32_t>(slot)[lane_] + offset);
  }
  template <class T = uint32_t>
  T value() {
    return w_.lanes<const T>(slots_[next_++])[lane_];
  }

 private:
  Warp& w_;
  const uint32_t* slots_;
  const Form& form_;
  int lane_;
  uint32_t next_ = 0;
};

Type element_type(const TensorMap& map) {
  // In the order of CUtensorMapDataType.
  static constexpr Type types[] = {Type::u8,  Type::u16, Type::u32,  Type::s32, Type::u64,  Type::s64, Type::f16,
                                   Type::f32, Type::f64, Type::bf16, Type::f32, Type::tf32, Type::tf32};
  return types[map.data_type];
}

void set_reduction(Warp& w, BulkCopy& c, const Form& form) {
  if (form.reduction == Reduction::none || (c.tensor && c.map.magic != kTensorMapMagic)) return;
  const Type type = c.tensor ? element_type(c.map) : form.type;
  c.combine = combine_of(form.reduction, type);
  c.element = bytes_of(type);
  if (!c.combine)
    fault(w, c.lane, "the reduction is not defined for the elements of the tensor", FaultKind::illegal_instruction);
}

constexpr const char* kElsewhere = "the mbarrier object is not in the block of the destination";

uint64_t own_offset(Warp& w, int lane, uint64_t address) {
  const SharedLocation location = shared_location(w, lane, address);
  if (location.block != &w.block) fault(w, lane, "the source is in the shared memory of another block");
  return location.offset;
}

std::vector<Block*> targets_of(Warp& w, int lane, uint16_t mask) {
  const auto& blocks = w.block.cluster.blocks;
  if (mask == 0 || mask >> blocks.size() != 0)
    fault(w, lane, "the block mask of a multicast is 0 or has blocks that are not in the cluster");
  std::vector<Block*> targets;
  for (size_t rank = 0; rank < blocks.size(); rank++)
    if (mask >> rank & 1) targets.push_back(blocks[rank].get());
  return targets;
}

void run_bulk(Warp& w, const Op& op) {
  Form form;
  std::memcpy(&form, &op.imm, sizeof form);
  for (uint32_t left = w.mask; left; left &= left - 1) {
    const int l = __builtin_ctz(left);
    Arguments arguments(w, op, form, l);
    BulkCopy c{};
    c.lane = l;
    c.to_shared = form.to_shared;
    c.tensor = form.tensor;
    c.reads_shared = form.reads_shared;
    const uint64_t shared_address = arguments.address(), other = arguments.address();
    const SharedLocation location = shared_location(w, l, shared_address);
    if (!form.to_shared) own_offset(w, l, shared_address);
    c.shared = location.offset;
    c.targets = {location.block};
    if (form.tensor)
      std::memcpy(&c.map, resolve_one(w, Space::generic, other, sizeof c.map, Access::read, l), sizeof c.map);
    else if (form.reads_shared)
      c.from_shared = own_offset(w, l, other);
    else
      c.global = other;
    set_reduction(w, c, form);
    if (!form.tensor) c.bytes = arguments.value();
    if (form.to_shared) {
      const SharedLocation barrier = shared_location(w, l, arguments.address());
      c.mbarrier = barrier.offset;
      if (!form.multicast && barrier.block != location.block) fault(w, l, kElsewhere);
    }
    if (form.multicast) c.targets = targets_of(w, l, arguments.value<uint16_t>());
    for (int d = 0; d < form.rank; d++) c.at[d] = arguments.value<int32_t>();
    if (form.tensor && c.map.magic == kTensorMapMagic && c.map.rank != form.rank)
      fault(w, l, "the tensor map has " + std::to_string(c.map.rank) + " dimensions", FaultKind::illegal_instruction);
    c.group = w.bulk.groups(l);
    w.bulk.issue(w, std::move(c));
  }
}

void append_address(Decoding& i, Form& form, const Operand& o, Space space) {
  uint32_t base = kNone;
  int64_t offset = 0;
  bool narrow = false;
  i.address(o, space, base, offset, narrow);
  if (narrow) form.narrow |= static_cast<uint8_t>(1u << i.op().count);
  i.append(base);
  i.append(i.constant(static_cast<uint64_t>(offset), 8));
}

Reduction take_operation(Decoding& i) {
  return static_cast<Reduction>(i.one_of({"add", "min", "max", "inc", "dec", "and", "or", "xor"}));
}

// .redOp{.noftz}.type
void take_reduction(Decoding& i, Form& form) {
  form.reduction = take_operation(i);
  const bool global = !form.to_shared;
  switch (form.reduction) {
    case Reduction::add:
      if (global && i.take("noftz"))
        form.type = i.type({Type::f16, Type::bf16});
      else
        form.type = global ? i.type({Type::u32, Type::s32, Type::u64, Type::f32, Type::f64})
                           : i.type({Type::u32, Type::s32, Type::u64});
      break;
    case Reduction::min:
    case Reduction::max:
      form.type = global ? i.type({Type::u32, Type::s32, Type::u64, Type::s64, Type::f16, Type::bf16})
                         : i.type({Type::u32, Type::s32});
      break;
    case Reduction::inc:
    case Reduction::dec: form.type = i.type({Type::u32}); break;
    default: form.type = global ? i.type({Type::b32, Type::b64}) : i.type({Type::b32});
  }
}

void bulk_copy(Decoding& i, Form form, bool reduces) {
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
  if (reduces) {
    if (to_shared && !form.reads_shared) i.fail("a reduction must read shared memory");
    take_reduction(i, form);
  }
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

void tensor_copy(Decoding& i, Form form, bool reduces) {
  form.tensor = true;
  form.rank = static_cast<uint8_t>(1 + i.one_of({"1d", "2d", "3d", "4d", "5d"}));
  const bool to_shared = i.take_any({"shared::cluster", "shared::cta"}) >= 0;
  if (!to_shared) i.one_of({"global"});
  form.to_shared = to_shared;
  i.one_of({to_shared ? "global" : "shared::cta"});
  if (reduces && to_shared) i.fail("a reduction must write global memory");
  if (reduces) form.reduction = take_operation(i);
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

void run_store(Warp& w, const Op& op) {
  Form form;
  std::memcpy(&form, &op.imm, sizeof form);
  const unsigned bytes = bytes_of(form.type);
  for (uint32_t left = w.mask; left; left &= left - 1) {
    Arguments arguments(w, op, form, __builtin_ctz(left));
    BulkCopy c{};
    c.lane = __builtin_ctz(left);
    c.to_shared = c.reads_registers = true;
    const SharedLocation location = shared_location(w, c.lane, arguments.address());
    const SharedLocation barrier = shared_location(w, c.lane, arguments.address());
    c.shared = location.offset;
    c.mbarrier = barrier.offset;
    c.targets = {location.block};
    if (barrier.block != location.block) fault(w, c.lane, kElsewhere);
    c.bytes = form.values * bytes;
    c.data.resize(c.bytes);
    for (unsigned v = 0; v < form.values; v++) {
      const uint64_t value = bytes == 4 ? arguments.value<uint32_t>() : arguments.value<uint64_t>();
      std::memcpy(c.data.data() + v * bytes, &value, bytes);
    }
    set_reduction(w, c, form);
    w.bulk.issue(w, std::move(c));
  }
}

// [a], b, [mbar]
void bind_store(Decoding& i, Form form) {
  i.expect(3);
  append_address(i, form, i.operand(0), Space::shared);
  append_address(i, form, i.operand(2), Space::shared);
  const Operand& values = i.operand(1);
  if (form.values == 1) {
    i.append(i.read(values, form.type));
  } else {
    if (values.kind != Operand::Kind::list || values.parts.size() != form.values)
      i.fail("takes " + std::to_string(form.values) + " registers in braces");
    for (const Operand& o : values.parts) i.append(i.read(o, form.type));
  }
  std::memcpy(&i.op().imm, &form, sizeof form);
  i.run(run_store, OpClass::async);
}

void run_commit(Warp& w, const Op&) { w.bulk.commit(w, w.mask); }
void run_wait(Warp& w, const Op& op) { w.bulk.wait_group(w, w.mask, static_cast<uint32_t>(op.imm), op.flags != 0); }
void run_nothing(Warp&, const Op&) {}

}  // namespace

void decode_bulk_copy(Decoding& i) {
  i.needs(90);
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
  if (i.take("prefetch")) {  // does not affect values
    if (i.take("tensor")) {
      const int rank = 1 + i.one_of({"1d", "2d", "3d", "4d", "5d"});
      i.one_of({"L2"});
      i.one_of({"global"});
      i.take("tile");
      const bool hinted = i.take("L2::cache_hint");
      i.expect(1 + hinted);
      const Operand& tensor = i.operand(0);
      if (tensor.parts.size() != 1 || tensor.parts[0].parts.size() != static_cast<size_t>(rank))
        i.fail("coordinates are missing");
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
  form.reduction = Reduction::none;
  if (i.take("tensor")) return tensor_copy(i, form, false);
  bulk_copy(i, form, false);
}

void decode_bulk_reduction(Decoding& i) {
  i.needs(90);
  Form form{};
  form.reduction = Reduction::none;
  if (i.take("tensor")) return tensor_copy(i, form, true);
  bulk_copy(i, form, true);
}

// st.async{.weak}.shared::cluster.mbarrier::complete_tx::bytes{.vec}.type [a], b, [mbar]
void decode_st_async(Decoding& i) {
  i.needs(90);
  Form form{};
  form.to_shared = true;
  form.reduction = Reduction::none;
  i.take("weak");
  i.one_of({"shared::cluster"});
  i.one_of({"mbarrier::complete_tx::bytes"});
  const int vector = i.take_any({"v2", "v4"});
  form.values = vector < 0 ? 1 : vector == 0 ? 2 : 4;
  form.type = i.type({Type::b32, Type::u32, Type::s32, Type::f32, Type::b64, Type::u64, Type::s64, Type::f64});
  bind_store(i, form);
}

// red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.op.type [a], b, [mbar]
void decode_red_async(Decoding& i) {
  i.needs(90);
  Form form{};
  form.to_shared = true;
  form.values = 1;
  i.one_of({"relaxed"});
  i.one_of({"cluster"});
  i.one_of({"shared::cluster"});
  i.one_of({"mbarrier::complete_tx::bytes"});
  take_reduction(i, form);
  bind_store(i, form);
}

}  // namespace vgpu

// PTX ISA, "Data Movement: tensormap.replace" and "tensormap.cp_fenceproxy": kernels derive tensor maps from one that
// the host has encoded.
#include "machine/tensor_map.h"
#include "instructions/bulk_copy.h"
#include "instructions/convergence.h"
#include "machine/address.h"

namespace vgpu {
namespace {

enum class Field : uint8_t { global_address, global_stride, rank, global_dim, box_dim, element_stride };

// Op::flags below Decoding::kBase32 holds the field and its dimension.
constexpr unsigned kFieldBits = 4, kMapBytes = 128;

void replace(TensorMap& map, Field field, unsigned dimension, uint64_t value) {
  switch (field) {
    case Field::global_address: map.address = value; break;
    case Field::global_stride: map.stride[dimension] = value; break;  // in bytes since CUDA 12.5
    case Field::rank: map.rank = static_cast<uint8_t>(value + 1); break;
    case Field::global_dim: map.last[dimension] = static_cast<uint32_t>(value - 1); break;
    case Field::box_dim: map.box[dimension] = static_cast<uint16_t>(value); break;
    case Field::element_stride: map.element_stride[dimension] = static_cast<uint8_t>(value); break;
  }
}

// The requirements of cuTensorMapEncodeTiled on the field.
bool allowed(Field field, uint64_t value) {
  switch (field) {
    case Field::global_address: return value % 16 == 0;
    case Field::global_stride: return value % 16 == 0 && value < uint64_t{1} << 40;
    case Field::rank: return value < 5;
    case Field::global_dim: return value >= 1;
    case Field::box_dim: return value >= 1 && value <= 256;
    default: return value >= 1 && value <= 8;
  }
}

[[noreturn]] void fault(Warp& w, int lane, FaultKind kind, const std::string& message) {
  w.fault_lane = lane;
  throw DeviceFault{{kind, "memcheck", "tensormap.replace: " + message, {}}};
}

template <Space S>
void run_replace(Warp& w, const Op& op) {
  const auto field = static_cast<Field>(op.flags & ((1u << kFieldBits) - 1));
  const unsigned dimension = (op.flags & ~unsigned{Decoding::kBase32}) >> kFieldBits;
  uint64_t address[kLanes];
  addresses_of(w, op, address);
  for (uint32_t left = w.mask; left; left &= left - 1) {
    const int l = __builtin_ctz(left);
    resolve_one(w, S, address[l], kMapBytes, Access::read, l);
    std::byte* at = resolve_one(w, S, address[l], kMapBytes, Access::write, l);
    TensorMap map;
    std::memcpy(&map, at, sizeof map);
    const bool wide = field <= Field::global_stride;
    const uint64_t value = wide ? w.lanes<const uint64_t>(op.b)[l] : w.lanes<const uint32_t>(op.b)[l];
    if (map.magic != kTensorMapMagic) fault(w, l, FaultKind::illegal_address, "the address does not hold a tensor map");
    if (!allowed(field, value))
      fault(w, l, FaultKind::illegal_instruction, std::to_string(value) + " is not allowed for this field");
    replace(map, field, dimension, value);
    std::memcpy(at, &map, sizeof map);
  }
}

// tensormap.replace.tile.field{.ss}.b1024.type [addr] {, ord}, new_val
void decode_replace(Decoding& i) {
  i.one_of({"tile"});
  // The other fields hold enumerators; they are not supported.
  const auto field = static_cast<Field>(
      i.one_of({"global_address", "global_stride", "rank", "global_dim", "box_dim", "element_stride"}));
  const int space = i.take_any({"global", "shared::cta"});
  i.one_of({"b1024"});
  const Type type = i.type({field <= Field::global_stride ? Type::b64 : Type::b32});
  const bool ordinal = field != Field::global_address && field != Field::rank;
  i.expect(ordinal ? 3 : 2);
  i.address(0, space < 0 ? Space::generic : space == 0 ? Space::global : Space::shared);
  i.op().flags |= static_cast<uint8_t>(field);
  const int64_t last = field == Field::global_stride ? 3 : 4;
  if (ordinal) i.op().flags |= static_cast<uint8_t>(i.immediate(1, 0, last) << kFieldBits);
  i.op().b = i.read(i.operands() - 1, type);
  i.run(space < 0    ? run_replace<Space::generic>
        : space == 0 ? run_replace<Space::global>
                     : run_replace<Space::shared>,
        OpClass::store);
}

// a: destination; b: source; imm: their offsets. The whole warp executes the copy, with the same operands in all lanes.
void run_copy(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  const uint64_t to = w.lanes<const uint64_t>(op.a)[0] + static_cast<uint64_t>(op.imm);
  const bool narrow = op.flags & Decoding::kBase32;
  const uint64_t from = narrow ? w.lanes<const uint32_t>(op.b)[0] : w.lanes<const uint64_t>(op.b)[0];
  const std::byte* source = resolve_one(w, Space::shared, from, kMapBytes, Access::read, 0);
  std::memcpy(resolve_one(w, Space::global, to, kMapBytes, Access::write, 0), source, kMapBytes);
}

// tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.scope.sync.aligned [dst], [src], 128
void decode_copy(Decoding& i) {
  i.one_of({"global"});
  i.one_of({"shared::cta"});
  i.one_of({"tensormap::generic"});
  i.one_of({"release"});
  i.one_of({"cta", "cluster", "gpu", "sys"});
  i.one_of({"sync"});
  i.one_of({"aligned"});
  i.expect(3);
  i.immediate(2, kMapBytes, kMapBytes);
  Op& op = i.op();
  bool narrow = false;
  int64_t offset = 0;
  i.address(i.operand(0), Space::global, op.a, op.imm, narrow);
  i.address(i.operand(1), Space::shared, op.b, offset, narrow);
  if (offset != 0) i.fail("a source offset is not supported");
  if (narrow) op.flags |= Decoding::kBase32;
  i.run(run_copy, OpClass::store);
}

}  // namespace

void decode_tensor_map(Decoding& i) {
  if (i.one_of({"replace", "cp_fenceproxy"}) == 0) {
    i.needs(90, true);
    return decode_replace(i);
  }
  i.needs(90);
  decode_copy(i);
}

}  // namespace vgpu

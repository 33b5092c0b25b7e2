// PTX ISA, "Data Movement and Conversion Instructions": ld, st.
#include "instructions/bulk_copy.h"
#include "instructions/lanes.h"
#include "instructions/list.h"
#include "machine/address.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr uint8_t kOrdered = 1;  // volatile, relaxed, acquire or release

// Moves a value of type T in memory from or to a register of type R: sign- or zero-extended, or truncated.
template <class T, class R, Space S>
void load(Warp& w, const Op& op) {
  uint64_t address[kLanes];
  std::byte* host[kLanes];
  addresses_of(w, op, address);
  const unsigned n = op.count;
  resolve(w, S, address, static_cast<unsigned>(sizeof(T)) * n,
          op.flags & kOrdered ? Access::ordered_read : Access::read, w.mask, host);
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  for (unsigned i = 0; i < n; i++) {
    R* d = w.lanes<R>(slots[i]);
    for (int l = 0; l < kLanes; l++) {
      if (!(w.mask >> l & 1)) continue;
      T value;
      std::memcpy(&value, host[l] + i * sizeof(T), sizeof(T));
      d[l] = static_cast<R>(value);
    }
  }
}

template <class T, class R, Space S>
void store(Warp& w, const Op& op) {
  uint64_t address[kLanes];
  std::byte* host[kLanes];
  addresses_of(w, op, address);
  const unsigned n = op.count;
  resolve(w, S, address, static_cast<unsigned>(sizeof(T)) * n,
          op.flags & kOrdered ? Access::ordered_write : Access::write, w.mask, host);
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  for (unsigned i = 0; i < n; i++) {
    const R* d = w.lanes<const R>(slots[i]);
    for (int l = 0; l < kLanes; l++) {
      if (!(w.mask >> l & 1)) continue;
      const T value = static_cast<T>(d[l]);
      std::memcpy(host[l] + i * sizeof(T), &value, sizeof(T));
    }
  }
}

// A kernel parameter has the same value for all lanes.
template <class T, class R>
void load_parameter(Warp& w, const Op& op) {
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  for (unsigned i = 0; i < op.count; i++) {
    T value;
    std::memcpy(&value,
                resolve_one(w, Space::param, static_cast<uint64_t>(op.imm) + i * sizeof(T), sizeof(T), Access::read, 0),
                sizeof(T));
    R r[kLanes];
    for (R& x : r) x = static_cast<R>(value);
    commit(w.lanes<R>(slots[i]), r, w.mask);
  }
}

// Arguments and results of calls are in the frame's part of local memory.
template <class T, class R, bool Store>
void argument(Warp& w, const Op& op) {
  const Frame& frame = *w.split().frame;
  const uint64_t base = frame.arguments() + static_cast<uint64_t>(op.imm);
  const uint32_t* slots = frame.routine->lists.data() + op.list;
  for (unsigned i = 0; i < op.count; i++) {
    R* r = w.lanes<R>(slots[i]);
    for (int l = 0; l < kLanes; l++) {
      if (!(w.mask >> l & 1)) continue;
      std::byte* at = w.local(l, base + i * sizeof(T));
      T value;
      if (Store) {
        value = static_cast<T>(r[l]);
        std::memcpy(at, &value, sizeof(T));
      } else {
        std::memcpy(&value, at, sizeof(T));
        r[l] = static_cast<R>(value);
      }
    }
  }
}

enum class Kind { load, store, load_parameter, load_argument, store_argument };

template <class T, class R>
Handler handler_of(Kind kind, Space space) {
  if (kind == Kind::load_parameter) return load_parameter<T, R>;
  if (kind == Kind::load_argument) return argument<T, R, false>;
  if (kind == Kind::store_argument) return argument<T, R, true>;
  const bool loads = kind == Kind::load;
  switch (space) {
    case Space::shared: return loads ? load<T, R, Space::shared> : store<T, R, Space::shared>;
    case Space::local: return loads ? load<T, R, Space::local> : store<T, R, Space::local>;
    case Space::param: return loads ? load<T, R, Space::param> : store<T, R, Space::param>;
    case Space::generic: return loads ? load<T, R, Space::generic> : store<T, R, Space::generic>;
    default: return loads ? load<T, R, Space::global> : store<T, R, Space::global>;
  }
}

template <class T>
Handler handler_of(Kind kind, Space space, unsigned register_bytes) {
  constexpr bool s = std::is_signed_v<T>;
  if (register_bytes == 2) return handler_of<T, std::conditional_t<s, int16_t, uint16_t>>(kind, space);
  if (register_bytes == 4) return handler_of<T, std::conditional_t<s, int32_t, uint32_t>>(kind, space);
  return handler_of<T, std::conditional_t<s, int64_t, uint64_t>>(kind, space);
}

Handler handler_of(Type t, Kind kind, Space space, unsigned register_bytes) {
  switch (t) {
    case Type::s8: return handler_of<int8_t>(kind, space, register_bytes);
    case Type::s16: return handler_of<int16_t>(kind, space, register_bytes);
    case Type::s32: return handler_of<int32_t>(kind, space, register_bytes);
    case Type::s64: return handler_of<int64_t>(kind, space, register_bytes);
    default:
      switch (bytes_of(t)) {
        case 1: return handler_of<uint8_t>(kind, space, register_bytes);
        case 2: return handler_of<uint16_t>(kind, space, register_bytes);
        case 4: return handler_of<uint32_t>(kind, space, register_bytes);
        default: return handler_of<uint64_t>(kind, space, register_bytes);
      }
  }
}

// Memory is sequentially consistent between instructions here, so only racecheck uses orderings.
bool take_ordering(Decoding& i, bool loads) {
  if (i.take("weak")) return false;
  if (i.take("volatile")) return true;
  if (i.take_any({"relaxed", loads ? "acquire" : "release"}) < 0) return false;
  i.one_of({"cta", "cluster", "gpu", "sys"});
  return true;
}

Space take_space(Decoding& i) {
  switch (i.take_any({"global", "shared", "shared::cta", "shared::cluster", "local", "param", "param::entry",
                      "param::func", "const"})) {
    case -1: return Space::generic;
    case 0: return Space::global;
    case 1:
    case 2:
    case 3: return Space::shared;
    case 4: return Space::local;
    case 8: return Space::constant;
    default: return Space::param;
  }
}

// Returns whether a cache policy follows as an operand.
bool take_cache_hints(Decoding& i, bool loads) {
  if (loads)
    i.take_any({"ca", "cg", "cs", "lu", "cv"});
  else
    i.take_any({"wb", "cg", "cs", "wt"});
  if (loads) i.take("nc");
  i.take_any({"L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate"});
  const bool policy = i.take("L2::cache_hint");
  if (loads) i.take_any({"L2::64B", "L2::128B", "L2::256B"});
  return policy;
}

void transfer(Decoding& i, bool loads) {
  if (take_ordering(i, loads)) i.op().flags |= kOrdered;
  const Space space = take_space(i);
  const bool policy = take_cache_hints(i, loads);
  if (!loads && space == Space::constant) i.fail("constant memory cannot be written");
  if (policy && space != Space::global && space != Space::generic) i.fail("a cache policy is only for global memory");
  const int vector = i.take_any({"v2", "v4", "v8"});
  const Type t = i.type({Type::b8, Type::u8, Type::s8, Type::b16, Type::u16, Type::s16, Type::b32, Type::u32, Type::s32,
                         Type::f32, Type::b64, Type::u64, Type::s64, Type::f64});
  const unsigned n = vector < 0 ? 1 : 2u << vector;
  if (n * bytes_of(t) > 16) i.fail("the vector has more than 16 bytes");
  i.expect(policy ? 3 : 2);
  if (policy) i.op().c = i.read(2, Type::b64);  // no effect
  const size_t memory = loads ? 1 : 0;
  const Operand& values = i.operand(1 - memory);
  unsigned bytes = 0;
  auto bind = [&](const Operand& o) {
    unsigned width = 0;
    const uint32_t slot = loads ? i.write_wide(o, t, width) : i.read_wide(o, t, width);
    if (width > 8) i.fail("128-bit registers are not supported here");
    if (o.kind == Operand::Kind::sink || o.kind == Operand::Kind::integer) width = bytes ? bytes : width;
    if (bytes != 0 && width != bytes) i.fail("registers have different widths");
    bytes = width;
    return slot;
  };
  Op& op = i.op();
  Kind kind = loads ? Kind::load : Kind::store;
  Decoding::ParamLocation location;
  if (space == Space::param && i.param_location(i.operand(memory), location)) {
    if (location.kernel && !loads) i.fail("a kernel's parameter cannot be written");
    if (location.offset < 0) i.fail("the address is before the parameter");
    kind = location.kernel ? Kind::load_parameter : loads ? Kind::load_argument : Kind::store_argument;
    op.imm = location.offset;
  } else {
    i.address(memory, space);
  }
  if (n == 1) {
    const Operand& only = values.kind == Operand::Kind::list && values.parts.size() == 1 ? values.parts[0] : values;
    i.append(bind(only));
  } else {
    if (values.kind != Operand::Kind::list || values.parts.size() != n)
      i.fail("takes " + std::to_string(n) + " registers in braces");
    for (const Operand& o : values.parts) i.append(bind(o));
  }
  i.run(handler_of(t, kind, space == Space::constant ? Space::global : space, bytes),
        loads ? OpClass::load : OpClass::store);
}

void ld(Decoding& i) { transfer(i, true); }
void st(Decoding& i) {
  if (i.take("async")) return decode_st_async(i);
  transfer(i, false);
}

}  // namespace

std::span<const Opcode> memory_opcodes() {
  static const Opcode table[] = {{"ld", ld}, {"st", st}};
  return table;
}

}  // namespace vgpu

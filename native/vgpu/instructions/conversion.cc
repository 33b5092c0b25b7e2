// PTX ISA, "Data Movement and Conversion Instructions": cvt, cvt.pack.
#include <bit>
#include <type_traits>

#include "instructions/lanes.h"
#include "instructions/list.h"
#include "instructions/numbers.h"

namespace vgpu {
namespace {

// The steps of a conversion, kept in op.imm. Widths are those of the registers.
struct Conversion {
  Type to, from;
  uint8_t to_bytes, from_bytes;
  Rounding rounding;
  bool integral : 1, ftz : 1, sat : 1, relu : 1, finite : 1;
};
static_assert(sizeof(Conversion) <= sizeof(Op::imm));

Conversion conversion_of(const Op& op) {
  Conversion c;
  std::memcpy(&c, &op.imm, sizeof c);
  return c;
}
void keep(Op& op, const Conversion& c) { std::memcpy(&op.imm, &c, sizeof c); }

unsigned bits_of(Type t) { return 8 * bytes_of(t); }
uint64_t low_bits(uint64_t x, unsigned bits) { return bits == 64 ? x : x & ((uint64_t{1} << bits) - 1); }
uint64_t sign_extended(uint64_t x, unsigned bits) {
  return static_cast<uint64_t>(static_cast<int64_t>(x << (64 - bits)) >> (64 - bits));
}

// The largest magnitude of an integer type for a sign.
uint64_t limit(Type t, bool negative) {
  if (!is_signed(t)) return negative ? 0 : low_bits(~uint64_t{0}, bits_of(t));
  return (uint64_t{1} << (bits_of(t) - 1)) - !negative;
}

Number number_of(uint64_t bits, Type t, bool ftz) {
  Number n;
  if (is_integer(t)) {
    bits = is_signed(t) ? sign_extended(bits, bits_of(t)) : low_bits(bits, bits_of(t));
    n.negative = is_signed(t) && bits >> 63;
    n.magnitude = n.negative ? 0 - bits : bits;
    return n;
  }
  n = decoded(bits, format_of(t));
  if (ftz && t == Type::f32 && n.magnitude < 1u << 23) n.magnitude = 0;
  return n;
}

// Rounds to an integral value. Its `exponent` is 0 unless it is too large for any integer type.
Number integral(Number n, Rounding r) {
  if (n.exponent < 0 && n.magnitude) n.magnitude = rounded(n.magnitude, -n.exponent, n.negative, r);
  if (n.exponent < 0) n.exponent = 0;
  return n;
}

uint64_t to_integer(Number n, const Conversion& c) {
  if (n.kind == Number::Kind::nan) {
    const bool zero = c.from != Type::f64 && bits_of(c.to) != 64;
    return zero ? 0 : uint64_t{1} << (bits_of(c.to) - 1);
  }
  const uint64_t max_magnitude = limit(c.to, n.negative);
  bool over = n.kind == Number::Kind::infinite;
  if (!is_integer(c.from)) {
    n = integral(n, c.rounding);
    if (!over && n.magnitude)
      over = n.exponent > std::countl_zero(n.magnitude) || n.magnitude << n.exponent > max_magnitude;
    if (!over && n.exponent > 0) n.magnitude = n.magnitude ? n.magnitude << n.exponent : 0;
  } else if (c.sat) {
    over = n.magnitude > max_magnitude;
  }
  const uint64_t magnitude = over ? max_magnitude : n.magnitude;
  return n.negative ? 0 - magnitude : magnitude;
}

uint64_t nan_of(Type t) {
  switch (t) {
    case Type::f64: return 0x7ff8000000000000;
    case Type::f16:
    case Type::bf16: return kNan16;
    case Type::e4m3:
    case Type::e5m2: return 0x7f;
    case Type::tf32: return 0x7fffffff >> 13;
    default: return 0x7fffffff;
  }
}

uint64_t to_float(Number n, const Conversion& c) {
  const Format f = format_of(c.to);
  if (n.kind == Number::Kind::nan) return c.sat ? 0 : nan_of(c.to);
  if (c.integral) n = integral(n, c.rounding);
  if (n.negative && (c.relu || c.sat)) return 0;
  const uint64_t sign = n.negative ? f.sign() : 0;
  const uint64_t one = static_cast<uint64_t>(f.bias()) << f.mantissa_bits;
  if (n.kind == Number::Kind::infinite) return c.sat ? one : sign | (c.finite ? f.overflow() - 1 : f.overflow());
  uint64_t bits = encoded(n, f, c.integral ? Rounding::nearest : c.rounding, c.finite);
  if (c.ftz && c.to == Type::f32 && (bits & ~sign) < uint64_t{1} << 23) bits = sign;
  return c.sat ? std::min(bits, one) : bits;
}

uint64_t converted(uint64_t bits, const Conversion& c) {
  const Number n = number_of(bits, c.from, c.ftz);
  const uint64_t r = is_integer(c.to) ? to_integer(n, c) : to_float(n, c);
  return c.to == Type::tf32 ? r << 13 : r;
}

uint64_t load(const std::byte* lanes, int lane, unsigned bytes) {
  uint64_t x = 0;
  std::memcpy(&x, lanes + static_cast<size_t>(lane) * bytes, bytes);
  return x;
}
void write_lanes(Warp& w, uint32_t slot, const uint64_t (&values)[kLanes], unsigned bytes) {
  auto write = [&](auto zero) {
    using T = decltype(zero);
    assign(w.lanes<T>(slot), w.mask, [&](int l) { return static_cast<T>(values[l]); });
  };
  bytes == 2 ? write(uint16_t{}) : bytes == 4 ? write(uint32_t{}) : write(uint64_t{});
}

void convert(Warp& w, const Op& op) {
  const Conversion c = conversion_of(op);
  const auto* a = w.lanes<const std::byte>(op.a);
  uint64_t r[kLanes];
  for (int l = 0; l < kLanes; l++) {
    const uint64_t x = converted(low_bits(load(a, l, c.from_bytes), bits_of(c.from)), c);
    // In a wider register a signed integer is sign-extended; everything else is zero-extended.
    r[l] = is_signed(c.to) ? sign_extended(x, bits_of(c.to)) : low_bits(x, bits_of(c.to));
  }
  write_lanes(w, op.d, r, c.to_bytes);
}

// Converts operand a to the upper half and b to the lower, or the halves of a.
void convert_pair(Warp& w, const Op& op) {
  const Conversion c = conversion_of(op);
  const auto* a = w.lanes<const std::byte>(op.a);
  const auto* b = op.b == kNone ? nullptr : w.lanes<const std::byte>(op.b);
  const unsigned from = bits_of(c.from), to = bits_of(c.to);
  uint64_t r[kLanes];
  for (int l = 0; l < kLanes; l++) {
    const uint64_t x = load(a, l, c.from_bytes);
    const uint64_t high = b ? x : x >> from, low = b ? load(b, l, c.from_bytes) : x;
    r[l] = converted(low_bits(high, from), c) << to | converted(low_bits(low, from), c);
  }
  write_lanes(w, op.d, r, c.to_bytes);
}

// --- fast paths for the most frequent conversions
// ---------------------------------------------------------------------

template <class D>
struct To {
  template <class S>
  static D apply(S x) {
    if constexpr (std::is_same_v<D, float> && std::is_floating_point_v<S>)
      return canonical(static_cast<float>(x));
    else
      return static_cast<D>(x);
  }
};
template <class H, bool Widen>
void half_float(Warp& w, const Op& op) {
  if constexpr (Widen) {
    float r[kLanes];
    H::widen(w.lanes<const uint16_t>(op.a), r, kLanes);
    for (float& x : r) x = canonical(x);
    commit(w.lanes<float>(op.d), r, w.mask);
  } else {
    uint16_t r[kLanes];
    H::narrow(w.lanes<const float>(op.a), r, kLanes);
    commit(w.lanes<uint16_t>(op.d), r, w.mask);
  }
}
template <class H>
void floats_to_pair(Warp& w, const Op& op) {
  uint16_t high[kLanes], low[kLanes];
  H::narrow(w.lanes<const float>(op.a), high, kLanes);
  H::narrow(w.lanes<const float>(op.b), low, kLanes);
  assign(w.lanes<uint32_t>(op.d), w.mask, [&](int l) { return static_cast<uint32_t>(high[l]) << 16 | low[l]; });
}
// Truncates. The magnitude is limited first, because the host's conversion is undefined beyond the range.
struct Truncate {
  static int32_t apply(float x) {
    const float largest = 0x1.fffffep30f;
    const int32_t r = static_cast<int32_t>(x == x ? std::fmin(std::fmax(x, -0x1p31f), largest) : 0.0f);
    return x > largest ? INT32_MAX : r;
  }
};

template <class D>
Handler cast_from(Type from) {
  switch (from) {
    case Type::u16: return unary<D, uint16_t, To<D>>;
    case Type::s16: return unary<D, int16_t, To<D>>;
    case Type::u32: return unary<D, uint32_t, To<D>>;
    case Type::s32: return unary<D, int32_t, To<D>>;
    case Type::u64: return unary<D, uint64_t, To<D>>;
    case Type::s64: return unary<D, int64_t, To<D>>;
    default: return nullptr;
  }
}

Handler fast(const Conversion& c) {
  if (c.to_bytes != bytes_of(c.to) || c.from_bytes != bytes_of(c.from) || c.ftz || c.sat || c.relu || c.finite)
    return nullptr;
  if (is_integer(c.to) && is_integer(c.from))
    return c.to_bytes == 2   ? cast_from<uint16_t>(c.from)
           : c.to_bytes == 4 ? cast_from<uint32_t>(c.from)
                             : cast_from<uint64_t>(c.from);
  if (c.from == Type::f32 && c.to == Type::f64) return unary<double, float, To<double>>;
  if (c.from == Type::f16 && c.to == Type::f32) return half_float<Half, true>;
  if (c.from == Type::bf16 && c.to == Type::f32) return half_float<Bfloat, true>;
  if (c.from == Type::f32 && c.to == Type::s32 && c.rounding == Rounding::zero) return unary<int32_t, float, Truncate>;
  if (c.rounding != Rounding::nearest || c.integral) return nullptr;
  if (c.from == Type::f64 && c.to == Type::f32) return unary<float, double, To<float>>;
  if (c.from == Type::f32 && c.to == Type::f16) return half_float<Half, false>;
  if (c.from == Type::f32 && c.to == Type::bf16) return half_float<Bfloat, false>;
  if (is_integer(c.from) && c.to == Type::f32) return cast_from<float>(c.from);
  if (is_integer(c.from) && c.to == Type::f64) return cast_from<double>(c.from);
  return nullptr;
}

// --- decoding --------------------------------------------------------------------------------------------------------

const std::initializer_list<Type> kConvertible{Type::u8,  Type::u16, Type::u32, Type::u64,  Type::s8,  Type::s16,
                                               Type::s32, Type::s64, Type::f16, Type::bf16, Type::f32, Type::f64};

// True if a value of `from` may be outside the range of `to`.
bool may_saturate(Type to, Type from) {
  return limit(from, true) > limit(to, true) || limit(from, false) > limit(to, false);
}

constexpr OpClass counted = OpClass::convert;

void basic(Decoding& i, Conversion c, int integer_rounding, int float_rounding) {
  c.ftz = i.take("ftz");
  c.sat = i.take("sat");
  c.to = i.type(kConvertible);
  c.from = i.type(kConvertible);
  i.expect(2);
  // cvt.f32.bf16 is older than the other conversions of bf16; its inverse has the options of narrow().
  const bool widens = c.to == Type::f32 && !c.ftz && !c.sat, narrows = c.from == Type::f32 && integer_rounding < 0;
  if ((c.from == Type::bf16 && !widens) || (c.to == Type::bf16 && !narrows)) i.needs(90);
  const bool from_integer = is_integer(c.from), to_integer = is_integer(c.to);
  // Conversions from float to integer round to an integer; floating-point conversions round where they lose precision.
  const bool precise = !from_integer && !to_integer && (c.to == c.from || bytes_of(c.to) > bytes_of(c.from));
  const bool needs_float = from_integer ? !to_integer : !to_integer && !precise;
  const bool needs_integer = !from_integer && to_integer;
  const bool may_integer = needs_integer || (!from_integer && c.to == c.from);
  if (needs_float != (float_rounding >= 0))
    i.fail(needs_float ? "needs a rounding: .rn, .rz, .rm or .rp" : "is exact and takes no rounding");
  if (integer_rounding >= 0 && !may_integer) i.fail("takes no rounding to integers");
  if (needs_integer && integer_rounding < 0) i.fail("needs a rounding: .rni, .rzi, .rmi or .rpi");
  if (c.ftz && c.to != Type::f32 && c.from != Type::f32) i.fail(".ftz is only for .f32");
  if (c.sat && (c.to == Type::bf16 || c.from == Type::bf16)) i.fail(".sat is not defined for .bf16");
  if (c.sat && from_integer && to_integer && !may_saturate(c.to, c.from)) i.fail("cannot saturate");
  c.integral = integer_rounding >= 0;
  c.rounding = static_cast<Rounding>(std::max({integer_rounding, float_rounding, 0}));
  Op& op = i.op();
  unsigned bytes = 0;
  op.a = i.read_wide(i.operand(1), c.from, bytes);
  c.from_bytes = static_cast<uint8_t>(bytes);
  op.d = i.write_wide(i.operand(0), c.to, bytes);
  c.to_bytes = static_cast<uint8_t>(bytes);
  if ((c.to == Type::bf16 && c.to_bytes != 2) || (c.from == Type::bf16 && c.from_bytes != 2))
    i.fail("a register for .bf16 must have 16 bits");
  keep(op, c);
  const Handler quick = fast(c);
  i.run(quick ? quick : convert, counted);
}

Type element(Type pair) {
  switch (pair) {
    case Type::f16x2: return Type::f16;
    case Type::bf16x2: return Type::bf16;
    case Type::e4m3x2: return Type::e4m3;
    case Type::e5m2x2: return Type::e5m2;
    default: return pair;
  }
}

// .f16, .bf16, .tf32, pairs and 8-bit floats, which may have .relu and .satfinite.
void narrow(Decoding& i, Conversion c, Rounding rounding, bool relu, bool finite) {
  c.rounding = rounding;
  c.relu = relu;
  c.finite = finite;
  const Type d = i.type({Type::f16, Type::bf16, Type::tf32, Type::f16x2, Type::bf16x2, Type::e4m3x2, Type::e5m2x2});
  const Type a = i.type({Type::f32, Type::f16x2, Type::e4m3x2, Type::e5m2x2});
  c.to = element(d);
  c.from = element(a);
  const bool to_byte = d == Type::e4m3x2 || d == Type::e5m2x2, from_byte = a == Type::e4m3x2 || a == Type::e5m2x2;
  if ((from_byte && d != Type::f16x2) || (a == Type::f16x2 && !to_byte)) i.fail("no conversion between these types");
  if (to_byte || from_byte) i.needs(89);
  if (d == Type::tf32 && rounding != Rounding::away) i.needs(90);
  if (from_byte && finite) i.fail(".satfinite is only for narrower types");
  if (to_byte && !finite) i.fail("needs .satfinite");
  if ((to_byte || from_byte) && rounding != Rounding::nearest) i.fail("allows only .rn");
  if (rounding == Rounding::away && (d != Type::tf32 || relu)) i.fail(".rna is only for .tf32 without .relu");
  const bool pair = d != Type::f16 && d != Type::bf16 && d != Type::tf32, two = pair && a == Type::f32;
  i.expect(two ? 3 : 2);
  Op& op = i.op();
  const Type source = from_byte ? Type::b16 : a == Type::f16x2 ? Type::b32 : Type::f32;
  const Type target = to_byte || !pair ? (d == Type::tf32 ? Type::b32 : Type::b16) : Type::b32;
  op.a = i.read(1, source);
  if (two) op.b = i.read(2, source);
  op.d = i.write(0, target);
  c.from_bytes = static_cast<uint8_t>(bytes_of(source));
  c.to_bytes = static_cast<uint8_t>(bytes_of(target));
  keep(op, c);
  if (two && !relu && !finite && rounding == Rounding::nearest && !to_byte)
    return i.run(d == Type::f16x2 ? floats_to_pair<Half> : floats_to_pair<Bfloat>, counted);
  const Handler quick = pair || d == Type::tf32 ? nullptr : fast(c);
  i.run(pair ? convert_pair : quick ? quick : convert, counted);
}

// Saturates to op.flags bits; the lowest bits of c follow above them. imm: whether the result is signed.
void pack(Warp& w, const Op& op) {
  const int32_t *a = w.lanes<const int32_t>(op.a), *b = w.lanes<const int32_t>(op.b);
  const auto* c = op.c == kNone ? nullptr : w.lanes<const uint32_t>(op.c);
  const unsigned bits = op.flags;
  const int32_t high = (1 << (op.imm ? bits - 1 : bits)) - 1, low = op.imm ? -high - 1 : 0;
  auto part = [=](int32_t x) { return static_cast<uint32_t>(std::clamp(x, low, high)) & ((1u << bits) - 1); };
  assign(w.lanes<uint32_t>(op.d), w.mask,
         [=](int l) { return part(a[l]) << bits | part(b[l]) | (c ? c[l] << 2 * bits : 0); });
}
void decode_pack(Decoding& i) {
  i.one_of({"sat"});
  const int form = i.one_of({"u16", "s16", "u8", "s8", "u4", "s4", "u2", "s2"});
  i.type({Type::s32});
  Op& op = i.op();
  op.flags = static_cast<uint8_t>(16 >> form / 2);
  op.imm = form % 2;
  if (form < 2) {
    bind_binary(i, Type::b32, Type::s32, Type::s32);
  } else {
    i.type({Type::b32});
    bind_ternary(i, Type::b32, Type::s32, Type::s32, Type::b32);
  }
  i.run(pack, counted);
}

void cvt(Decoding& i) {
  if (i.take("pack")) return decode_pack(i);
  const int integer_rounding = i.take_any({"rni", "rzi", "rmi", "rpi"});
  const int float_rounding = integer_rounding >= 0 ? -1 : i.take_any({"rn", "rz", "rm", "rp", "rna"});
  // .relu and .satfinite may come in either order.
  bool relu = i.take("relu");
  const bool finite = i.take("satfinite");
  relu = relu || i.take("relu");
  const auto named = type_named(i.peek());
  const std::string_view head = i.instruction().head;
  const bool pairs = head.find("x2") != head.npos;
  if (relu || finite || pairs || float_rounding == 4 || named == Type::tf32) {
    if (float_rounding < 0) i.fail("needs a rounding");
    if (float_rounding == 2 || float_rounding == 3) i.fail("allows only .rn and .rz");
    return narrow(i, {}, static_cast<Rounding>(float_rounding), relu, finite);
  }
  basic(i, {}, integer_rounding, float_rounding);
}

}  // namespace

std::span<const Opcode> conversion_opcodes() {
  static const Opcode table[] = {{"cvt", cvt}};
  return table;
}

}  // namespace vgpu

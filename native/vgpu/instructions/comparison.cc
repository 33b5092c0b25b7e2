// PTX ISA, "Comparison and Selection Instructions" and "Half Precision Comparison Instructions".
#include <cmath>
#include <type_traits>

#include "instructions/lanes.h"
#include "instructions/list.h"
#include "instructions/numbers.h"

namespace vgpu {
namespace {

enum Comparison { eq, ne, lt, le, gt, ge, equ, neu, ltu, leu, gtu, geu, num, nan_ };

// Comparisons ending in u hold if either operand is NaN: they are the complements of ordered ones.
template <Comparison C, class T>
bool compare(T a, T b) {
  switch (C) {
    case eq: return a == b;
    case ne: return std::is_integral_v<T> ? a != b : (a < b) | (a > b);
    case lt: return a < b;
    case le: return a <= b;
    case gt: return a > b;
    case ge: return a >= b;
    case equ: return !((a < b) | (a > b));
    case neu: return !(a == b);
    case ltu: return !(a >= b);
    case leu: return !(a > b);
    case gtu: return !(a <= b);
    case geu: return !(a < b);
    case num: return (a == a) & (b == b);
    case nan_: return !((a == a) & (b == b));
  }
}

template <class T, Comparison C, bool Ftz = false>
uint32_t compare_lanes(const T* a, const T* b) {
  return lanes_where<sizeof(T)>([=](int l) {
    if constexpr (Ftz)
      return compare<C>(flushed(a[l]), flushed(b[l]));
    else
      return compare<C>(a[l], b[l]);
  });
}

constexpr uint8_t kNegated = 1;                 // for the predicate operand
constexpr uint8_t kAnd = 2, kOr = 4, kXor = 8;  // for its combination with the result
constexpr uint8_t kFtz = 16;                    // for halves

uint32_t combined(Warp& w, const Op& op, uint32_t r) {
  if (op.c == kNone) return r;
  const uint32_t c = w.predicate(op.c) ^ (op.flags & kNegated ? kAllLanes : 0);
  return op.flags & kAnd ? r & c : op.flags & kOr ? r | c : r ^ c;
}

// Each of d and e is combined with predicate c: d from the comparison, e from its complement.
template <class T, Comparison C, bool Ftz>
void setp(Warp& w, const Op& op) {
  const uint32_t r = compare_lanes<T, C, Ftz>(w.lanes<const T>(op.a), w.lanes<const T>(op.b));
  const uint32_t first = combined(w, op, r), second = combined(w, op, ~r);
  w.set_predicate(op.d, first);
  if (op.e != kNone) w.set_predicate(op.e, second);
}

// set writes op.imm where the comparison holds, else 0.
template <class D>
void write_flags(Warp& w, const Op& op, uint32_t r) {
  const auto yes = static_cast<D>(op.imm);
  assign(w.lanes<D>(op.d), w.mask, [=](int l) { return r >> l & 1 ? yes : D{0}; });
}

template <class T, Comparison C, bool Ftz>
void set32(Warp& w, const Op& op) {
  write_flags<uint32_t>(w, op,
                        combined(w, op, compare_lanes<T, C, Ftz>(w.lanes<const T>(op.a), w.lanes<const T>(op.b))));
}
template <class T, Comparison C, bool Ftz>
void set16(Warp& w, const Op& op) {
  write_flags<uint16_t>(w, op,
                        combined(w, op, compare_lanes<T, C, Ftz>(w.lanes<const T>(op.a), w.lanes<const T>(op.b))));
}

// form: 0 for setp, 1 for set to 32 bits, 2 for set to 16 bits
template <class T, bool Ftz, Comparison C>
Handler handler_of(int form) {
  return form == 0 ? setp<T, C, Ftz> : form == 1 ? set32<T, C, Ftz> : set16<T, C, Ftz>;
}
template <class T, bool Ftz = false>
Handler handler_of(int c, int form) {
  switch (c) {
    case eq: return handler_of<T, Ftz, eq>(form);
    case ne: return handler_of<T, Ftz, ne>(form);
    case lt: return handler_of<T, Ftz, lt>(form);
    case le: return handler_of<T, Ftz, le>(form);
    case gt: return handler_of<T, Ftz, gt>(form);
    case ge: return handler_of<T, Ftz, ge>(form);
    default: break;
  }
  if constexpr (!std::is_integral_v<T>) {
    switch (c) {
      case equ: return handler_of<T, Ftz, equ>(form);
      case neu: return handler_of<T, Ftz, neu>(form);
      case ltu: return handler_of<T, Ftz, ltu>(form);
      case leu: return handler_of<T, Ftz, leu>(form);
      case gtu: return handler_of<T, Ftz, gtu>(form);
      case geu: return handler_of<T, Ftz, geu>(form);
      case num: return handler_of<T, Ftz, num>(form);
      case nan_: return handler_of<T, Ftz, nan_>(form);
      default: break;
    }
  }
  return nullptr;
}
Handler handler_of(Type t, int c, int form, bool ftz) {
  if (t == Type::f32) return ftz ? handler_of<float, true>(c, form) : handler_of<float>(c, form);
  if (t == Type::f64) return handler_of<double>(c, form);
  switch (bytes_of(t)) {
    case 2: return is_signed(t) ? handler_of<int16_t>(c, form) : handler_of<uint16_t>(c, form);
    case 4: return is_signed(t) ? handler_of<int32_t>(c, form) : handler_of<uint32_t>(c, form);
    default: return is_signed(t) ? handler_of<int64_t>(c, form) : handler_of<uint64_t>(c, form);
  }
}

// --- halves ----------------------------------------------------------------------------------------------------------

uint32_t compare_floats(const float* a, const float* b, int c) {
  switch (c) {
    case eq: return compare_lanes<float, eq>(a, b);
    case ne: return compare_lanes<float, ne>(a, b);
    case lt: return compare_lanes<float, lt>(a, b);
    case le: return compare_lanes<float, le>(a, b);
    case gt: return compare_lanes<float, gt>(a, b);
    case ge: return compare_lanes<float, ge>(a, b);
    case equ: return compare_lanes<float, equ>(a, b);
    case neu: return compare_lanes<float, neu>(a, b);
    case ltu: return compare_lanes<float, ltu>(a, b);
    case leu: return compare_lanes<float, leu>(a, b);
    case gtu: return compare_lanes<float, gtu>(a, b);
    case geu: return compare_lanes<float, geu>(a, b);
    case num: return compare_lanes<float, num>(a, b);
    default: return compare_lanes<float, nan_>(a, b);
  }
}

// Half number `part` of the `parts` halves of an operand.
template <class H>
void load_half(Warp& w, const Op& op, uint32_t slot, int part, int parts, float (&out)[kLanes]) {
  uint16_t h[kLanes];
  const auto* from = w.lanes<const uint16_t>(slot);
  for (int l = 0; l < kLanes; l++) h[l] = from[l * parts + part];
  if (op.flags & kFtz)
    for (uint16_t& x : h) x = flushed_half(x, H::smallest_normal);
  H::widen(h, out, kLanes);
}

// The results for a pair are p|q or the halves of d. op.imm holds the comparison above what set writes.
template <class H, bool Pair>
void compare_halves(Warp& w, const Op& op, uint32_t (&r)[2]) {
  for (int part = 0; part < 1 + Pair; part++) {
    float a[kLanes], b[kLanes];
    load_half<H>(w, op, op.a, part, 1 + Pair, a);
    load_half<H>(w, op, op.b, part, 1 + Pair, b);
    r[part] = combined(w, op, compare_floats(a, b, static_cast<int>(op.imm >> 32)));
  }
}
template <class H, bool Pair>
void setp_half(Warp& w, const Op& op) {
  uint32_t r[2];
  compare_halves<H, Pair>(w, op, r);
  w.set_predicate(op.d, r[0]);
  if (Pair) w.set_predicate(op.e, r[1]);
}
template <class H, bool Pair, class D>
void set_half(Warp& w, const Op& op) {
  uint32_t r[2];
  compare_halves<H, Pair>(w, op, r);
  const auto yes = static_cast<uint32_t>(op.imm);
  assign(w.lanes<D>(op.d), w.mask, [&](int l) {
    const uint32_t first = r[0] >> l & 1 ? yes : 0;
    return static_cast<D>(Pair ? first | (r[1] >> l & 1 ? yes << 16 : 0) : first);
  });
}

// --- decoding --------------------------------------------------------------------------------------------------------

const std::initializer_list<Type> kComparable{Type::b16, Type::b32, Type::b64,  Type::u16,   Type::u32,
                                              Type::u64, Type::s16, Type::s32,  Type::s64,   Type::f32,
                                              Type::f64, Type::f16, Type::bf16, Type::f16x2, Type::bf16x2};

bool is_pair(Type t) { return t == Type::f16x2 || t == Type::bf16x2; }
bool is_half(Type t) { return is_pair(t) || t == Type::f16 || t == Type::bf16; }
bool is_bfloat(Type t) { return t == Type::bf16 || t == Type::bf16x2; }
bool is_floating(Type t) { return is_half(t) || t == Type::f32 || t == Type::f64; }

int take_comparison(Decoding& i) {
  return i.one_of({"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", "lo",
                   "ls", "hi", "hs"});
}
// lo, ls, hi, hs are lt … for unsigned integers.
int checked(Decoding& i, int c, Type t, bool ftz) {
  const bool unsigned_only = c >= 14, bits = t == Type::b16 || t == Type::b32 || t == Type::b64;
  if ((unsigned_only && (is_floating(t) || is_signed(t))) || (c >= 6 && c < 14 && !is_floating(t)) || (bits && c > 1))
    i.fail("this comparison is not defined for ." + std::string(name_of(t)));
  if (ftz && t != Type::f32 && t != Type::f16 && t != Type::f16x2)
    i.fail(".ftz is not defined for ." + std::string(name_of(t)));
  constexpr int kUnsigned[] = {lt, le, gt, ge};
  return unsigned_only ? kUnsigned[c - 14] : c;
}
void bind_comparison(Decoding& i, Type t, int combine) {
  i.expect(combine >= 0 ? 4 : 3);
  Op& op = i.op();
  op.a = i.read(1, t);
  op.b = i.read(2, t);
  if (combine < 0) return;
  bool negated = false;
  op.c = i.read_predicate(i.operand(3), negated);
  op.flags = static_cast<uint8_t>(negated * kNegated | (combine == 0 ? kAnd : combine == 1 ? kOr : kXor));
}

void decode_setp(Decoding& i) {
  int c = take_comparison(i);
  const int combine = i.take_any({"and", "or", "xor"});
  const bool ftz = i.take("ftz");
  const Type t = i.type(kComparable);
  c = checked(i, c, t, ftz);
  if (is_bfloat(t)) i.needs(90);
  bind_comparison(i, t, combine);
  Op& op = i.op();
  const Operand& d = i.operand(0);
  const bool two = d.kind == Operand::Kind::pair;
  if (is_half(t) && two != is_pair(t)) i.fail(two ? "has only one result" : "has two results, p|q");
  op.d = i.write_predicate(two ? d.parts[0] : d);
  if (two) op.e = i.write_predicate(d.parts[1]);
  if (!is_half(t)) return i.run(handler_of(t, c, 0, ftz), is_floating(t) ? OpClass::floating : OpClass::integer);
  op.flags |= ftz * kFtz;
  op.imm = int64_t{c} << 32;
  i.run(t == Type::f16     ? setp_half<Half, false>
        : t == Type::f16x2 ? setp_half<Half, true>
        : t == Type::bf16  ? setp_half<Bfloat, false>
                           : setp_half<Bfloat, true>,
        OpClass::half);
}

// The type of the result comes first. For a pair it is two halves (1.0), or all bits.
void decode_set(Decoding& i) {
  int c = take_comparison(i);
  const int combine = i.take_any({"and", "or", "xor"});
  const bool ftz = i.take("ftz");
  const Type d =
      i.type({Type::u32, Type::s32, Type::f32, Type::u16, Type::s16, Type::f16, Type::bf16, Type::f16x2, Type::bf16x2});
  const Type t = i.type(kComparable);
  c = checked(i, c, t, ftz);
  if (is_bfloat(t) || is_bfloat(d)) i.needs(90);
  const bool fits = is_pair(t)   ? d == t || d == Type::u32 || d == Type::s32
                    : is_half(t) ? d == t || (is_integer(d) && bytes_of(d) <= 4)
                                 : !is_pair(d) && d != Type::u16 && d != Type::s16;
  if (ftz && d == Type::bf16) i.fail(".ftz is not defined for .bf16");
  if (!fits) i.fail("no result type ." + std::string(name_of(d)) + " for operands of type ." + std::string(name_of(t)));
  bind_comparison(i, t, combine);
  Op& op = i.op();
  op.d = i.write(0, d);
  const uint32_t yes = d == Type::f32                         ? 0x3f800000u
                       : d == Type::f16 || d == Type::f16x2   ? 0x3c00
                       : d == Type::bf16 || d == Type::bf16x2 ? 0x3f80
                       : is_pair(t)                           ? 0xffff
                                                              : 0xffffffffu;
  op.imm = yes;
  const bool narrow = bytes_of(d) == 2;
  if (!is_half(t))
    return i.run(handler_of(t, c, narrow ? 2 : 1, ftz), is_floating(t) ? OpClass::floating : OpClass::integer);
  op.flags |= ftz * kFtz;
  op.imm |= int64_t{c} << 32;
  const bool bfloat = is_bfloat(t);
  i.run(is_pair(t) ? (bfloat ? set_half<Bfloat, true, uint32_t> : set_half<Half, true, uint32_t>)
        : narrow   ? (bfloat ? set_half<Bfloat, false, uint16_t> : set_half<Half, false, uint16_t>)
                   : (bfloat ? set_half<Bfloat, false, uint32_t> : set_half<Half, false, uint32_t>),
        OpClass::half);
}

const std::initializer_list<Type> kSelectable{Type::b16, Type::b32, Type::b64, Type::u16, Type::u32, Type::u64,
                                              Type::s16, Type::s32, Type::s64, Type::f32, Type::f64};

template <class T>
void selp(Warp& w, const Op& op) {
  const T* a = w.lanes<const T>(op.a);
  T r[kLanes];
  std::memcpy(r, w.lanes<const T>(op.b), sizeof r);
  commit(r, *reinterpret_cast<const T(*)[kLanes]>(a), w.predicate(op.c) ^ (op.flags & kNegated ? kAllLanes : 0));
  commit(w.lanes<T>(op.d), r, w.mask);
}

void decode_selp(Decoding& i) {
  const Type t = i.type(kSelectable);
  i.expect(4);
  bool negated = false;
  i.op().a = i.read(1, t);
  i.op().b = i.read(2, t);
  i.op().c = i.read_predicate(i.operand(3), negated);
  i.op().flags = negated;
  i.op().d = i.write(0, t);
  i.run(bytes_of(t) == 2 ? selp<uint16_t> : bytes_of(t) == 4 ? selp<uint32_t> : selp<uint64_t>, OpClass::integer);
}

// c >= 0 ? a : b. The condition is true for -0 and for a flushed subnormal, and false for NaN.
template <class T, class C, bool Ftz>
struct Slct {
  static T apply(T a, T b, C c) {
    if constexpr (Ftz) c = flushed(c);
    return c >= 0 ? a : b;
  }
};

void slct(Decoding& i) {
  const bool ftz = i.take("ftz");
  const Type t = i.type(kSelectable), c = ftz ? i.type({Type::f32}) : i.type({Type::s32, Type::f32});
  bind_ternary(i, t, t, t, c);
  auto pick = [&](auto zero) -> Handler {
    using T = decltype(zero);
    return c == Type::s32 ? ternary<T, T, T, int32_t, Slct<T, int32_t, false>>
           : ftz          ? ternary<T, T, T, float, Slct<T, float, true>>
                          : ternary<T, T, T, float, Slct<T, float, false>>;
  };
  i.run(bytes_of(t) == 2 ? pick(uint16_t{}) : bytes_of(t) == 4 ? pick(uint32_t{}) : pick(uint64_t{}), OpClass::integer);
}

}  // namespace

std::span<const Opcode> comparison_opcodes() {
  static const Opcode table[] = {{"selp", decode_selp}, {"set", decode_set}, {"setp", decode_setp}, {"slct", slct}};
  return table;
}

}  // namespace vgpu

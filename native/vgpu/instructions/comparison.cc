// PTX ISA, "Comparison and Selection Instructions".
#include <cmath>

#include "instructions/lanes.h"
#include "instructions/list.h"

namespace vgpu {
namespace {

enum Comparison { eq, ne, lt, le, gt, ge, equ, neu, ltu, leu, gtu, geu, num, nan_ };

template <class T, Comparison C>
bool compare(T a, T b) {
  const bool unordered = a != a || b != b;
  switch (C) {
    case eq: return a == b;
    case ne: return a != b && !unordered;
    case lt: return a < b;
    case le: return a <= b;
    case gt: return a > b;
    case ge: return a >= b;
    case equ: return a == b || unordered;
    case neu: return a != b;
    case ltu: return a < b || unordered;
    case leu: return a <= b || unordered;
    case gtu: return a > b || unordered;
    case geu: return a >= b || unordered;
    case num: return !unordered;
    case nan_: return unordered;
  }
  return false;
}

constexpr uint8_t kNegated = 1;                  // the predicate operand
constexpr uint8_t kAnd = 2, kOr = 4, kXor = 8;  // how it is combined

// d|e = comparison, and its complement, each combined with predicate c.
void finish(Warp& w, const Op& op, uint32_t result) {
  uint32_t complement = ~result;
  if (op.c != kNone) {
    const uint32_t c = w.predicate(op.c) ^ (op.flags & kNegated ? kAllLanes : 0);
    auto combined = [&](uint32_t r) { return op.flags & kAnd ? r & c : op.flags & kOr ? r | c : r ^ c; };
    result = combined(result);
    complement = combined(complement);
  }
  w.set_predicate(op.d, result);
  if (op.e != kNone) w.set_predicate(op.e, complement);
}

template <class T, Comparison C, bool Ftz>
void setp(Warp& w, const Op& op) {
  const T* a = w.lanes<const T>(op.a);
  const T* b = w.lanes<const T>(op.b);
  uint32_t r = 0;
  for (int l = 0; l < kLanes; l++) {
    T x = a[l], y = b[l];
    if constexpr (Ftz) {
      if (std::fabs(x) < 0x1p-126f) x = std::copysign(0.0f, x);
      if (std::fabs(y) < 0x1p-126f) y = std::copysign(0.0f, y);
    }
    r |= static_cast<uint32_t>(compare<T, C>(x, y)) << l;
  }
  finish(w, op, r);
}

template <class T, bool Ftz = false>
Handler setp_of(int c) {
  static constexpr Handler table[] = {setp<T, eq, Ftz>,  setp<T, ne, Ftz>,  setp<T, lt, Ftz>,  setp<T, le, Ftz>,  setp<T, gt, Ftz>,
                                      setp<T, ge, Ftz>,  setp<T, equ, Ftz>, setp<T, neu, Ftz>, setp<T, ltu, Ftz>, setp<T, leu, Ftz>,
                                      setp<T, gtu, Ftz>, setp<T, geu, Ftz>, setp<T, num, Ftz>, setp<T, nan_, Ftz>};
  return table[c];
}

void decode_setp(Decoding& i) {
  const std::string_view name = i.peek();
  int c = i.one_of({"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", "lo", "ls", "hi", "hs"});
  const int combine = i.take_any({"and", "or", "xor"});
  const bool ftz = i.take("ftz");
  const Type t = ftz ? i.type({Type::f32})
                     : i.type({Type::b16, Type::b32, Type::b64, Type::u16, Type::u32, Type::u64, Type::s16, Type::s32, Type::s64,
                               Type::f32, Type::f64});
  const bool floating = t == Type::f32 || t == Type::f64;
  const bool unsigned_only = c >= 14, bits = t == Type::b16 || t == Type::b32 || t == Type::b64;
  if ((unsigned_only && (floating || is_signed(t))) || (c >= 6 && c < 14 && !floating) || (bits && c > 1))
    i.fail("comparison ." + std::string(name) + " is not defined for ." + std::string(name_of(t)));
  if (unsigned_only) c = c == 14 ? lt : c == 15 ? le : c == 16 ? gt : ge;
  i.expect(combine >= 0 ? 4 : 3);
  Op& op = i.op();
  op.a = i.read(1, t);
  op.b = i.read(2, t);
  if (combine >= 0) {
    bool negated = false;
    op.c = i.read_predicate(i.operand(3), negated);
    op.flags = static_cast<uint8_t>(negated * kNegated | (combine == 0 ? kAnd : combine == 1 ? kOr : kXor));
  }
  const Operand& d = i.operand(0);
  if (d.kind == Operand::Kind::pair) {
    op.d = i.write_predicate(d.parts[0]);
    op.e = i.write_predicate(d.parts[1]);
  } else {
    op.d = i.write_predicate(d);
  }
  if (t == Type::f32) return i.run(ftz ? setp_of<float, true>(c) : setp_of<float>(c), OpClass::floating);
  if (t == Type::f64) return i.run(setp_of<double>(c), OpClass::floating);
  i.run(on_integer(t, [&](auto zero) -> Handler { return setp_of<decltype(zero)>(c); }), OpClass::integer);
}

template <class T>
void selp(Warp& w, const Op& op) {
  const T* a = w.lanes<const T>(op.a);
  const T* b = w.lanes<const T>(op.b);
  const uint32_t p = w.predicate(op.c) ^ (op.flags & kNegated ? kAllLanes : 0);
  T r[kLanes];
  for (int l = 0; l < kLanes; l++) r[l] = p >> l & 1 ? a[l] : b[l];
  commit(w.lanes<T>(op.d), r, w.mask);
}

void decode_selp(Decoding& i) {
  const Type t = i.type({Type::b16, Type::b32, Type::b64, Type::u16, Type::u32, Type::u64, Type::s16, Type::s32, Type::s64, Type::f32,
                         Type::f64});
  i.expect(4);
  bool negated = false;
  i.op().a = i.read(1, t);
  i.op().b = i.read(2, t);
  i.op().c = i.read_predicate(i.operand(3), negated);
  i.op().flags = negated;
  i.op().d = i.write(0, t);
  i.run(bytes_of(t) == 2 ? selp<uint16_t> : bytes_of(t) == 4 ? selp<uint32_t> : selp<uint64_t>, OpClass::integer);
}

}  // namespace

std::span<const Opcode> comparison_opcodes() {
  static const Opcode table[] = {{"selp", decode_selp}, {"setp", decode_setp}};
  return table;
}

}  // namespace vgpu

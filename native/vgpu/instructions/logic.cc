// PTX ISA, "Logic and Shift Instructions".
#include "instructions/lanes.h"
#include "instructions/list.h"

namespace vgpu {
namespace {

struct And {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
struct Not {
  template <class T>
  static T apply(T a) {
    return static_cast<T>(~a);
  }
};

// Predicates have a bit per lane.
template <class F>
void binary_predicate(Warp& w, const Op& op) {
  const uint32_t a = w.predicate(op.a) ^ (op.flags & 1 ? kAllLanes : 0),
                 b = w.predicate(op.b) ^ (op.flags & 2 ? kAllLanes : 0);
  w.set_predicate(op.d, F::apply(a, b));
}

template <class F>
void bitwise(Decoding& i) {
  const Type t = i.type({Type::pred, Type::b16, Type::b32, Type::b64});
  if (t == Type::pred) {
    i.expect(3);
    bool not_a = false, not_b = false;
    i.op().a = i.read_predicate(i.operand(1), not_a);
    i.op().b = i.read_predicate(i.operand(2), not_b);
    i.op().d = i.write_predicate(i.operand(0));
    i.op().flags = static_cast<uint8_t>(not_a | not_b << 1);
    return i.run(binary_predicate<F>, OpClass::integer);
  }
  bind_binary(i, t, t, t);
  i.run(on_integer(t, [](auto zero) -> Handler { return binary<decltype(zero), decltype(zero), decltype(zero), F>; }),
        OpClass::integer);
}

void not_predicate(Warp& w, const Op& op) {
  w.set_predicate(op.d, ~w.predicate(op.a) ^ (op.flags & 1 ? kAllLanes : 0));
}

void decode_not(Decoding& i) {
  const Type t = i.type({Type::pred, Type::b16, Type::b32, Type::b64});
  if (t == Type::pred) {
    i.expect(2);
    bool negated = false;
    i.op().a = i.read_predicate(i.operand(1), negated);
    i.op().d = i.write_predicate(i.operand(0));
    i.op().flags = negated;
    return i.run(not_predicate, OpClass::integer);
  }
  bind_unary(i, t, t);
  i.run(on_integer(t, [](auto zero) -> Handler { return unary<decltype(zero), decltype(zero), Not>; }),
        OpClass::integer);
}

// Shift amounts above the width are clamped to the width.
template <class T>
struct ShiftLeft {
  static T apply(T a, uint32_t n) { return n >= 8 * sizeof(T) ? T{0} : static_cast<T>(static_cast<uint64_t>(a) << n); }
};
template <class T>
struct ShiftRight {
  static T apply(T a, uint32_t n) {
    const uint32_t max_shift = 8 * sizeof(T) - 1;
    if constexpr (std::is_signed_v<T>) return static_cast<T>(a >> (n > max_shift ? max_shift : n));
    return n > max_shift ? T{0} : static_cast<T>(a >> n);
  }
};

void shl(Decoding& i) {
  const Type t = i.type({Type::b16, Type::b32, Type::b64});
  bind_binary(i, t, t, Type::u32);
  i.run(on_integer(t,
                   [](auto zero) -> Handler {
                     return binary<decltype(zero), decltype(zero), uint32_t, ShiftLeft<decltype(zero)>>;
                   }),
        OpClass::integer);
}

void shr(Decoding& i) {
  const Type t =
      i.type({Type::b16, Type::b32, Type::b64, Type::u16, Type::u32, Type::u64, Type::s16, Type::s32, Type::s64});
  bind_binary(i, t, t, Type::u32);
  i.run(on_integer(t,
                   [](auto zero) -> Handler {
                     return binary<decltype(zero), decltype(zero), uint32_t, ShiftRight<decltype(zero)>>;
                   }),
        OpClass::integer);
}

struct Cnot {
  template <class T>
  static T apply(T a) {
    return a == 0;
  }
};
void cnot(Decoding& i) {
  const Type t = i.type({Type::b16, Type::b32, Type::b64});
  bind_unary(i, t, t);
  i.run(on_integer(t, [](auto zero) -> Handler { return unary<decltype(zero), decltype(zero), Cnot>; }),
        OpClass::integer);
}

// Bit 4a + 2b + c of the table is the result for the operand bits a, b and c.
void lop3(Warp& w, const Op& op) {
  const uint32_t *a = w.lanes<const uint32_t>(op.a), *b = w.lanes<const uint32_t>(op.b),
                 *c = w.lanes<const uint32_t>(op.c);
  uint32_t r[kLanes] = {};
  for (uint32_t k = 0; k < 8; k++) {
    if (!(op.imm >> k & 1)) continue;
    const uint32_t not_a = k & 4 ? 0 : ~0u, not_b = k & 2 ? 0 : ~0u, not_c = k & 1 ? 0 : ~0u;
    for (int l = 0; l < kLanes; l++) r[l] |= (a[l] ^ not_a) & (b[l] ^ not_b) & (c[l] ^ not_c);
  }
  commit(w.lanes<uint32_t>(op.d), r, w.mask);
  if (op.e == kNone) return;
  const uint32_t p = lanes_where<4>([&](int l) { return r[l] != 0; });
  const uint32_t q = w.predicate(w.split().frame->routine->lists[op.list]) ^ (op.flags & 1 ? kAllLanes : 0);
  w.set_predicate(op.e, op.flags & 2 ? p | q : p & q);
}
void decode_lop3(Decoding& i) {
  const int combine = i.take_any({"or", "and"});
  i.type({Type::b32});
  i.expect(combine >= 0 ? 6 : 5);
  Op& op = i.op();
  op.a = i.read(1, Type::b32);
  op.b = i.read(2, Type::b32);
  op.c = i.read(3, Type::b32);
  op.imm = i.immediate(4, 0, 255);
  const Operand& d = i.operand(0);
  if (combine >= 0) {
    bool negated = false;
    i.append(i.read_predicate(i.operand(5), negated));
    op.flags = static_cast<uint8_t>(negated | (combine == 0 ? 2 : 0));
    if (d.kind != Operand::Kind::pair) i.fail("has two results, d|p");
    op.d = i.write(d.parts[0], Type::b32);
    op.e = i.write_predicate(d.parts[1]);
  } else {
    op.d = i.write(0, Type::b32);
  }
  i.run(lop3, OpClass::integer);
}

// Shifts the 64 bits b:a.
template <bool Left, bool Clamp>
struct Shf {
  static uint32_t apply(uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t n = Clamp ? (c < 32 ? c : 32) : c & 31;
    const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
    return static_cast<uint32_t>(Left ? both << n >> 32 : both >> n);
  }
};
void shf(Decoding& i) {
  const bool left = i.one_of({"l", "r"}) == 0, clamp = i.one_of({"clamp", "wrap"}) == 0;
  i.type({Type::b32});
  bind_ternary(i, Type::b32, Type::b32, Type::b32, Type::u32);
  using W = uint32_t;
  i.run(left ? (clamp ? ternary<W, W, W, W, Shf<true, true>> : ternary<W, W, W, W, Shf<true, false>>)
             : (clamp ? ternary<W, W, W, W, Shf<false, true>> : ternary<W, W, W, W, Shf<false, false>>),
        OpClass::integer);
}

}  // namespace

std::span<const Opcode> logic_opcodes() {
  static const Opcode table[] = {
      {"and", bitwise<And>}, {"cnot", cnot}, {"lop3", decode_lop3}, {"not", decode_not},   {"or", bitwise<Or>},
      {"shf", shf},          {"shl", shl},   {"shr", shr},          {"xor", bitwise<Xor>},
  };
  return table;
}

}  // namespace vgpu

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

// Of predicates: a bit per lane.
template <class F>
void binary_predicate(Warp& w, const Op& op) {
  const uint32_t a = w.predicate(op.a) ^ (op.flags & 1 ? kAllLanes : 0), b = w.predicate(op.b) ^ (op.flags & 2 ? kAllLanes : 0);
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
  i.run(on_integer(t, [](auto zero) -> Handler { return binary<decltype(zero), decltype(zero), decltype(zero), F>; }), OpClass::integer);
}

void not_predicate(Warp& w, const Op& op) { w.set_predicate(op.d, ~w.predicate(op.a) ^ (op.flags & 1 ? kAllLanes : 0)); }

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
  i.run(on_integer(t, [](auto zero) -> Handler { return unary<decltype(zero), decltype(zero), Not>; }), OpClass::integer);
}

// Shifts by more than the width count as by the width.
template <class T>
struct ShiftLeft {
  static T apply(T a, uint32_t n) { return n >= 8 * sizeof(T) ? T{0} : static_cast<T>(static_cast<uint64_t>(a) << n); }
};
template <class T>
struct ShiftRight {
  static T apply(T a, uint32_t n) {
    const uint32_t most = 8 * sizeof(T) - 1;
    if constexpr (std::is_signed_v<T>) return static_cast<T>(a >> (n > most ? most : n));
    return n > most ? T{0} : static_cast<T>(a >> n);
  }
};

void shl(Decoding& i) {
  const Type t = i.type({Type::b16, Type::b32, Type::b64});
  bind_binary(i, t, t, Type::u32);
  i.run(on_integer(t, [](auto zero) -> Handler { return binary<decltype(zero), decltype(zero), uint32_t, ShiftLeft<decltype(zero)>>; }),
        OpClass::integer);
}

void shr(Decoding& i) {
  const Type t = i.type({Type::b16, Type::b32, Type::b64, Type::u16, Type::u32, Type::u64, Type::s16, Type::s32, Type::s64});
  bind_binary(i, t, t, Type::u32);
  i.run(on_integer(t, [](auto zero) -> Handler { return binary<decltype(zero), decltype(zero), uint32_t, ShiftRight<decltype(zero)>>; }),
        OpClass::integer);
}

}  // namespace

std::span<const Opcode> logic_opcodes() {
  static const Opcode table[] = {
      {"and", bitwise<And>}, {"not", decode_not}, {"or", bitwise<Or>}, {"shl", shl}, {"shr", shr}, {"xor", bitwise<Xor>},
  };
  return table;
}

}  // namespace vgpu

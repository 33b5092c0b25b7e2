// PTX ISA, "Integer Arithmetic Instructions" and "Extended-Precision Integer Arithmetic Instructions".
#include <bit>
#include <limits>
#include <type_traits>

#include "instructions/lanes.h"
#include "instructions/list.h"

namespace vgpu {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
using Wide = std::conditional_t<sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>,
                                std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;

const std::initializer_list<Type> kIntegers{Type::u16, Type::u32, Type::u64, Type::s16, Type::s32, Type::s64};
const std::initializer_list<Type> kSigned{Type::s16, Type::s32, Type::s64};

// Wrapping arithmetic. Unsigned types at least as wide as int have no undefined behaviour.
template <class T, class F>
T wrapped(T a, T b, F&& f) {
  using U = std::conditional_t<sizeof(T) < 4, uint32_t, Unsigned<T>>;
  return static_cast<T>(f(static_cast<U>(a), static_cast<U>(b)));
}

struct Add {
  template <class T>
  static T apply(T a, T b) {
    return wrapped(a, b, [](auto x, auto y) { return x + y; });
  }
};
struct Sub {
  template <class T>
  static T apply(T a, T b) {
    return wrapped(a, b, [](auto x, auto y) { return x - y; });
  }
};
struct AddSat {
  static int32_t apply(int32_t a, int32_t b) {
    int32_t r;
    return __builtin_add_overflow(a, b, &r) ? (a < 0 ? INT32_MIN : INT32_MAX) : r;
  }
};
struct SubSat {
  static int32_t apply(int32_t a, int32_t b) {
    int32_t r;
    return __builtin_sub_overflow(a, b, &r) ? (a < 0 ? INT32_MIN : INT32_MAX) : r;
  }
};
struct MulLo {
  template <class T>
  static T apply(T a, T b) {
    return wrapped(a, b, [](auto x, auto y) { return x * y; });
  }
};
struct MulHi {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (sizeof(T) == 8) {
      using W = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
      return static_cast<T>((static_cast<W>(a) * b) >> 64);
    } else {
      return static_cast<T>((static_cast<Wide<T>>(a) * static_cast<Wide<T>>(b)) >> (8 * sizeof(T)));
    }
  }
};
template <class T>
struct MulWide {
  static Wide<T> apply(T a, T b) { return static_cast<Wide<T>>(a) * static_cast<Wide<T>>(b); }
};
template <class Mul>
struct Mad {
  template <class T>
  static T apply(T a, T b, T c) {
    return Add::apply(Mul::apply(a, b), c);
  }
};
template <class T>
struct MadWide {
  static Wide<T> apply(T a, T b, Wide<T> c) { return Add::apply(MulWide<T>::apply(a, b), c); }
};
struct MadHiSat {
  static int32_t apply(int32_t a, int32_t b, int32_t c) { return AddSat::apply(MulHi::apply(a, b), c); }
};
// Division by zero gives an unspecified value: all bits set, as on hardware.
struct Div {
  template <class T>
  static T apply(T a, T b) {
    if (b == 0) return static_cast<T>(-1);
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return Sub::apply(T{0}, a);
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <class T>
  static T apply(T a, T b) {
    if (b == 0) return a;
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
  }
};
struct Min {
  template <class T>
  static T apply(T a, T b) {
    return a < b ? a : b;
  }
};
struct Max {
  template <class T>
  static T apply(T a, T b) {
    return a > b ? a : b;
  }
};
struct Relu {
  template <class T>
  static T apply(T a) {
    return a > 0 ? a : T{0};
  }
};
template <class F>
struct ThenRelu {
  template <class T>
  static T apply(T a, T b) {
    return Relu::apply(F::apply(a, b));
  }
};
// .u16x2, .s16x2: operates on each half of a register.
template <class F, class T>
struct Pair {
  static uint32_t apply(uint32_t a, uint32_t b) {
    const auto low = static_cast<uint16_t>(F::apply(static_cast<T>(a), static_cast<T>(b)));
    const auto high = static_cast<uint16_t>(F::apply(static_cast<T>(a >> 16), static_cast<T>(b >> 16)));
    return static_cast<uint32_t>(high) << 16 | low;
  }
};
struct Sad {
  template <class T>
  static T apply(T a, T b, T c) {
    return Add::apply(c, a < b ? Sub::apply(b, a) : Sub::apply(a, b));
  }
};
// Multiplies the low 24 bits of the operands and takes the upper or lower 32 of the product's 48 bits.
template <class T, bool High>
struct Mul24 {
  static int64_t low24(T a) {
    return std::is_signed_v<T> ? static_cast<int32_t>(static_cast<uint32_t>(a) << 8) >> 8 : a & 0xffffff;
  }
  static T apply(T a, T b) { return static_cast<T>((low24(a) * low24(b)) >> (High ? 16 : 0)); }
  static T apply(T a, T b, T c) { return Add::apply(apply(a, b), c); }
};
struct Mad24HiSat {
  static int32_t apply(int32_t a, int32_t b, int32_t c) { return AddSat::apply(Mul24<int32_t, true>::apply(a, b), c); }
};
struct Neg {
  template <class T>
  static T apply(T a) {
    return Sub::apply(T{0}, a);
  }
};
struct Abs {
  template <class T>
  static T apply(T a) {
    return a < 0 ? Neg::apply(a) : a;
  }
};

template <class F>
Handler binary_of(Type t) {
  return on_integer(t, [](auto zero) -> Handler {
    using T = decltype(zero);
    return binary<T, T, T, F>;
  });
}

// d = a + b + carry, or a - (b + carry). mad adds the low or high part of a * b to c.
enum class Product : uint8_t { none, low, high };

template <class T, bool Subtract, Product P>
void with_carry(Warp& w, const Op& op) {
  using U = Unsigned<T>;
  const T* a = w.lanes<const T>(op.a);
  const T* b = w.lanes<const T>(op.b);
  const T* c = P == Product::none ? nullptr : w.lanes<const T>(op.c);
  const uint32_t carry = op.count ? w.predicate(w.split().frame->routine->lists[op.list]) : 0;
  uint32_t out = 0;
  U r[kLanes];
  for (int l = 0; l < kLanes; l++) {
    const auto x = static_cast<U>(P == Product::none  ? a[l]
                                  : P == Product::low ? MulLo::apply(a[l], b[l])
                                                      : MulHi::apply(a[l], b[l]));
    const auto y = static_cast<U>(P == Product::none ? b[l] : c[l]);
    const U in = carry >> l & 1;
    const U once = Subtract ? x - y : x + y;
    r[l] = Subtract ? once - in : once + in;
    const bool over = Subtract ? x < y || once < in : once < x || r[l] < once;
    out |= static_cast<uint32_t>(over) << l;
  }
  commit(w.lanes<U>(op.d), r, w.mask);
  if (op.e != kNone) w.set_predicate(op.e, out);
}

template <bool Subtract, Product P>
void decode_with_carry(Decoding& i, bool in, bool out) {
  const Type t = i.type({Type::u32, Type::s32, Type::u64, Type::s64});
  P == Product::none ? bind_binary(i, t, t, t) : bind_ternary(i, t, t, t, t);
  if (in) i.append(i.read_carry());
  if (out) i.op().e = i.write_carry();
  i.run(on_integer(t,
                   [](auto zero) -> Handler {
                     using T = decltype(zero);
                     if constexpr (sizeof(T) >= 4) return with_carry<T, Subtract, P>;
                     return nullptr;
                   }),
        OpClass::integer);
}

template <bool Subtract>
void carry_chain(Decoding& i) {
  decode_with_carry<Subtract, Product::none>(i, true, i.take("cc"));
}

void madc(Decoding& i) {
  const bool low = i.one_of({"lo", "hi"}) == 0, out = i.take("cc");
  low ? decode_with_carry<false, Product::low>(i, true, out) : decode_with_carry<false, Product::high>(i, true, out);
}

template <class F, class FSat>
void add_or_sub(Decoding& i) {
  constexpr bool subtract = std::is_same_v<F, Sub>;
  if (i.take("cc")) return decode_with_carry<subtract, Product::none>(i, false, true);
  const bool saturate = i.take("sat");
  if (!subtract && !saturate && (i.peek() == "u16x2" || i.peek() == "s16x2")) {
    i.type({Type::u16x2, Type::s16x2});
    i.needs(90);
    bind_binary(i, Type::b32, Type::b32, Type::b32);
    return i.run(binary<uint32_t, uint32_t, uint32_t, Pair<F, uint16_t>>, OpClass::integer);
  }
  const Type t = saturate ? i.type({Type::s32}) : i.type(kIntegers);
  bind_binary(i, t, t, t);
  i.run(saturate ? binary<int32_t, int32_t, int32_t, FSat> : binary_of<F>(t), OpClass::integer);
}

// min, max: {.relu}.s32, {.relu}.s16x2, .u16x2, …
template <class F>
void extreme(Decoding& i) {
  const bool relu = i.take("relu");
  const bool pair = i.peek() == "u16x2" || i.peek() == "s16x2";
  const Type t = relu   ? i.type({Type::s16x2, Type::s32})
                 : pair ? i.type({Type::u16x2, Type::s16x2})
                        : i.type(kIntegers);
  if (relu || pair) i.needs(90);
  const Type bits = pair ? Type::b32 : t;
  bind_binary(i, bits, bits, bits);
  using Word = uint32_t;
  Handler run;
  if (pair)
    run = relu               ? binary<Word, Word, Word, Pair<ThenRelu<F>, int16_t>>
          : t == Type::s16x2 ? binary<Word, Word, Word, Pair<F, int16_t>>
                             : binary<Word, Word, Word, Pair<F, uint16_t>>;
  else
    run = relu ? binary<int32_t, int32_t, int32_t, ThenRelu<F>> : binary_of<F>(t);
  i.run(run, OpClass::integer);
}

void sad(Decoding& i) {
  const Type t = i.type(kIntegers);
  bind_ternary(i, t, t, t, t);
  i.run(on_integer(t,
                   [](auto zero) -> Handler {
                     using T = decltype(zero);
                     return ternary<T, T, T, T, Sad>;
                   }),
        OpClass::integer);
}

void mul24(Decoding& i) {
  const bool high = i.one_of({"hi", "lo"}) == 0;
  const Type t = i.type({Type::u32, Type::s32});
  bind_binary(i, t, t, t);
  using U = uint32_t;
  using S = int32_t;
  i.run(t == Type::u32 ? (high ? binary<U, U, U, Mul24<U, true>> : binary<U, U, U, Mul24<U, false>>)
                       : (high ? binary<S, S, S, Mul24<S, true>> : binary<S, S, S, Mul24<S, false>>),
        OpClass::integer);
}

void mad24(Decoding& i) {
  const bool high = i.one_of({"hi", "lo"}) == 0, saturate = high && i.take("sat");
  const Type t = saturate ? i.type({Type::s32}) : i.type({Type::u32, Type::s32});
  bind_ternary(i, t, t, t, t);
  using U = uint32_t;
  using S = int32_t;
  i.run(saturate         ? ternary<S, S, S, S, Mad24HiSat>
        : t == Type::u32 ? (high ? ternary<U, U, U, U, Mul24<U, true>> : ternary<U, U, U, U, Mul24<U, false>>)
                         : (high ? ternary<S, S, S, S, Mul24<S, true>> : ternary<S, S, S, S, Mul24<S, false>>),
        OpClass::integer);
}

template <class F>
void plain_binary(Decoding& i) {
  const Type t = i.type(kIntegers);
  bind_binary(i, t, t, t);
  i.run(binary_of<F>(t), OpClass::integer);
}

template <class F>
void signed_unary(Decoding& i) {
  const Type t = i.type(kSigned);
  bind_unary(i, t, t);
  i.run(on_integer(t, [](auto zero) -> Handler { return unary<decltype(zero), decltype(zero), F>; }), OpClass::integer);
}

void mul(Decoding& i) {
  const int part = i.one_of({"lo", "hi", "wide"});
  if (part == 2) {
    const Type t = i.type({Type::u16, Type::u32, Type::s16, Type::s32});
    const Type d = t == Type::u16 ? Type::u32 : t == Type::u32 ? Type::u64 : t == Type::s16 ? Type::s32 : Type::s64;
    bind_binary(i, d, t, t);
    i.run(on_integer(t,
                     [](auto zero) -> Handler {
                       using T = decltype(zero);
                       if constexpr (sizeof(T) == 2 || sizeof(T) == 4) return binary<Wide<T>, T, T, MulWide<T>>;
                       return nullptr;
                     }),
          OpClass::integer);
    return;
  }
  const Type t = i.type(kIntegers);
  bind_binary(i, t, t, t);
  i.run(part == 0 ? binary_of<MulLo>(t) : binary_of<MulHi>(t), OpClass::integer);
}

void mad(Decoding& i) {
  const int part = i.one_of({"lo", "hi", "wide"});
  if (part == 2) {
    const Type t = i.type({Type::u16, Type::u32, Type::s16, Type::s32});
    const Type d = t == Type::u16 ? Type::u32 : t == Type::u32 ? Type::u64 : t == Type::s16 ? Type::s32 : Type::s64;
    bind_ternary(i, d, t, t, d);
    i.run(on_integer(t,
                     [](auto zero) -> Handler {
                       using T = decltype(zero);
                       if constexpr (sizeof(T) == 2 || sizeof(T) == 4)
                         return ternary<Wide<T>, T, T, Wide<T>, MadWide<T>>;
                       return nullptr;
                     }),
          OpClass::integer);
    return;
  }
  if (i.take("cc"))
    return part == 0 ? decode_with_carry<false, Product::low>(i, false, true)
                     : decode_with_carry<false, Product::high>(i, false, true);
  const bool saturate = part == 1 && i.take("sat");
  const Type t = saturate ? i.type({Type::s32}) : i.type(kIntegers);
  bind_ternary(i, t, t, t, t);
  if (saturate) return i.run(ternary<int32_t, int32_t, int32_t, int32_t, MadHiSat>, OpClass::integer);
  i.run(on_integer(t,
                   [&](auto zero) -> Handler {
                     using T = decltype(zero);
                     return part == 0 ? ternary<T, T, T, T, Mad<MulLo>> : ternary<T, T, T, T, Mad<MulHi>>;
                   }),
        OpClass::integer);
}

}  // namespace

std::span<const Opcode> integer_opcodes() {
  constexpr Domain integer = Domain::integer;
  static const Opcode table[] = {
      {"abs", signed_unary<Abs>, integer},
      {"add", add_or_sub<Add, AddSat>, integer},
      {"addc", carry_chain<false>},
      {"div", plain_binary<Div>, integer},
      {"mad", mad, integer},
      {"mad24", mad24},
      {"madc", madc},
      {"max", extreme<Max>, integer},
      {"min", extreme<Min>, integer},
      {"mul", mul, integer},
      {"mul24", mul24},
      {"neg", signed_unary<Neg>, integer},
      {"rem", plain_binary<Rem>},
      {"sad", sad},
      {"sub", add_or_sub<Sub, SubSat>, integer},
      {"subc", carry_chain<true>},
  };
  return table;
}

}  // namespace vgpu

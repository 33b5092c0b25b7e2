// PTX ISA, "Integer Arithmetic Instructions".
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

// Wraps around; unsigned arithmetic of at least int's width has no undefined behaviour.
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
// Division by zero gives an unspecified value: all bits set, as the hardware's sequence does.
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

template <class F, class FSat>
void add_or_sub(Decoding& i) {
  const bool saturate = i.take("sat");
  const Type t = saturate ? i.type({Type::s32}) : i.type(kIntegers);
  bind_binary(i, t, t, t);
  i.run(saturate ? binary<int32_t, int32_t, int32_t, FSat> : binary_of<F>(t), OpClass::integer);
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
    i.run(on_integer(t, [](auto zero) -> Handler {
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
    i.run(on_integer(t, [](auto zero) -> Handler {
            using T = decltype(zero);
            if constexpr (sizeof(T) == 2 || sizeof(T) == 4) return ternary<Wide<T>, T, T, Wide<T>, MadWide<T>>;
            return nullptr;
          }),
          OpClass::integer);
    return;
  }
  const bool saturate = part == 1 && i.take("sat");
  const Type t = saturate ? i.type({Type::s32}) : i.type(kIntegers);
  bind_ternary(i, t, t, t, t);
  if (saturate) return i.run(ternary<int32_t, int32_t, int32_t, int32_t, MadHiSat>, OpClass::integer);
  i.run(on_integer(t, [&](auto zero) -> Handler {
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
      {"div", plain_binary<Div>, integer},
      {"mad", mad, integer},
      {"max", plain_binary<Max>, integer},
      {"min", plain_binary<Min>, integer},
      {"mul", mul, integer},
      {"neg", signed_unary<Neg>, integer},
      {"rem", plain_binary<Rem>},
      {"sub", add_or_sub<Sub, SubSat>, integer},
  };
  return table;
}

}  // namespace vgpu

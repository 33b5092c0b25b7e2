// PTX ISA, "Integer Arithmetic Instructions" on bits and bit fields.
#include <bit>
#include <type_traits>

#include "instructions/lanes.h"
#include "instructions/list.h"

namespace vgpu {
namespace {

struct Popc {
  template <class T>
  static uint32_t apply(T a) {
    return static_cast<uint32_t>(std::popcount(a));
  }
};
struct Clz {
  template <class T>
  static uint32_t apply(T a) {
    return static_cast<uint32_t>(std::countl_zero(a));
  }
};
struct Brev {
  static uint64_t apply(uint64_t a) {
    a = (a >> 1 & 0x5555555555555555) | (a & 0x5555555555555555) << 1;
    a = (a >> 2 & 0x3333333333333333) | (a & 0x3333333333333333) << 2;
    a = (a >> 4 & 0x0f0f0f0f0f0f0f0f) | (a & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(a);
  }
  static uint32_t apply(uint32_t a) { return static_cast<uint32_t>(apply(uint64_t{a}) >> 32); }
};
// The highest bit that differs from the sign bit.
template <bool ShiftAmount>
struct Bfind {
  template <class T>
  static uint32_t apply(T a) {
    const auto bits = static_cast<std::make_unsigned_t<T>>(std::is_signed_v<T> && a < 0 ? ~a : a);
    if (bits == 0) return UINT32_MAX;
    const int leading = std::countl_zero(bits);
    return static_cast<uint32_t>(ShiftAmount ? leading : static_cast<int>(8 * sizeof(T)) - 1 - leading);
  }
};
// A base above 31 is undefined; the search then finds nothing.
struct Fns {
  static uint32_t apply(uint32_t mask, uint32_t base, int32_t offset) {
    if (base > 31) return UINT32_MAX;
    if (offset == 0) return mask >> base & 1 ? base : UINT32_MAX;
    uint32_t left = offset < 0 ? 0u - static_cast<uint32_t>(offset) : static_cast<uint32_t>(offset);
    for (int at = static_cast<int>(base); at >= 0 && at < 32; at += offset < 0 ? -1 : 1)
      if (mask >> at & 1 && --left == 0) return static_cast<uint32_t>(at);
    return UINT32_MAX;
  }
};
// Position and length are taken modulo 256.
template <class T>
struct Bfe {
  static T apply(T a, uint32_t position, uint32_t length) {
    using U = std::make_unsigned_t<T>;
    constexpr uint32_t width = 8 * sizeof(T);
    position &= 0xff;
    length &= 0xff;
    if (length == 0) return 0;
    // Bits above the highest are copies of the sign, or zeros.
    const T moved = position < width ? static_cast<T>(a >> position) : std::is_signed_v<T> && a < 0 ? T(-1) : T{0};
    if (length >= width || (std::is_signed_v<T> && position + length >= width)) return moved;
    const U low = static_cast<U>(moved) << (width - length);
    return static_cast<T>(static_cast<T>(low) >> (width - length));
  }
};
template <class T>
void bfi(Warp& w, const Op& op) {
  constexpr uint32_t width = 8 * sizeof(T);
  const T *a = w.lanes<const T>(op.a), *b = w.lanes<const T>(op.b);
  const uint32_t *c = w.lanes<const uint32_t>(op.c), *e = w.lanes<const uint32_t>(op.e);
  assign(w.lanes<T>(op.d), w.mask, [=](int l) {
    const uint32_t position = c[l] & 0xff, length = e[l] & 0xff;
    const T ones = length >= width ? ~T{0} : (T{1} << (length & (width - 1))) - 1;
    const T field = position >= width ? T{0} : ones << (position & (width - 1));
    const T moved = position >= width ? T{0} : a[l] << (position & (width - 1));
    return (b[l] & ~field) | (moved & field);
  });
}
template <bool Clamp>
struct Bmsk {
  static uint32_t apply(uint32_t a, uint32_t b) {
    if (Clamp && a >= 32) return 0;
    const uint32_t from = a & 31, width = b & 31, sum = from + width;
    if (sum >= 32 || (Clamp && b >= 32)) return ~0u << from;
    return width == 0 ? 0 : ~0u << from & ~(~0u << sum);
  }
};
template <class T, bool Clamp>
struct Szext {
  static T apply(T a, uint32_t b) {
    const uint32_t n = b & 31;
    if (Clamp && b >= 32) return a;
    if (n == 0) return 0;
    return static_cast<T>(static_cast<T>(static_cast<uint32_t>(a) << (32 - n)) >> (32 - n));
  }
};
// Dot products of bytes with bytes, or with 16-bit elements. A and B are the C++ types of the elements.
template <class A, class B>
struct Dp4a {
  static uint32_t apply(uint32_t a, uint32_t b, uint32_t c) {
    for (int i = 0; i < 32; i += 8) c += static_cast<uint32_t>(static_cast<A>(a >> i) * static_cast<B>(b >> i));
    return c;
  }
};
template <class A, class B, int From>
struct Dp2a {
  static uint32_t apply(uint32_t a, uint32_t b, uint32_t c) {
    for (int i = 0; i < 2; i++)
      c += static_cast<uint32_t>(static_cast<A>(a >> 16 * i) * static_cast<B>(b >> (From + 8 * i)));
    return c;
  }
};

template <class F>
void count(Decoding& i) {
  const Type t = i.type({Type::b32, Type::b64});
  bind_unary(i, Type::u32, t);
  i.run(t == Type::b32 ? unary<uint32_t, uint32_t, F> : unary<uint32_t, uint64_t, F>, OpClass::integer);
}

void brev(Decoding& i) {
  const Type t = i.type({Type::b32, Type::b64});
  bind_unary(i, t, t);
  i.run(t == Type::b32 ? unary<uint32_t, uint32_t, Brev> : unary<uint64_t, uint64_t, Brev>, OpClass::integer);
}

void bfind(Decoding& i) {
  const bool amount = i.take("shiftamt");
  const Type t = i.type({Type::u32, Type::u64, Type::s32, Type::s64});
  bind_unary(i, Type::u32, t);
  i.run(on_integer(t,
                   [&](auto zero) -> Handler {
                     using T = decltype(zero);
                     return amount ? unary<uint32_t, T, Bfind<true>> : unary<uint32_t, T, Bfind<false>>;
                   }),
        OpClass::integer);
}

void fns(Decoding& i) {
  i.type({Type::b32});
  bind_ternary(i, Type::b32, Type::b32, Type::b32, Type::s32);
  i.run(ternary<uint32_t, uint32_t, uint32_t, int32_t, Fns>, OpClass::integer);
}

void bfe(Decoding& i) {
  const Type t = i.type({Type::u32, Type::u64, Type::s32, Type::s64});
  bind_ternary(i, t, t, Type::b32, Type::b32);
  i.run(on_integer(t,
                   [](auto zero) -> Handler {
                     using T = decltype(zero);
                     return ternary<T, T, uint32_t, uint32_t, Bfe<T>>;
                   }),
        OpClass::integer);
}

void decode_bfi(Decoding& i) {
  const Type t = i.type({Type::b32, Type::b64});
  i.expect(5);
  Op& op = i.op();
  op.a = i.read(1, t);
  op.b = i.read(2, t);
  op.c = i.read(3, Type::b32);
  op.e = i.read(4, Type::b32);
  op.d = i.write(0, t);
  i.run(t == Type::b32 ? bfi<uint32_t> : bfi<uint64_t>, OpClass::integer);
}

void bmsk(Decoding& i) {
  const bool clamp = i.one_of({"clamp", "wrap"}) == 0;
  i.type({Type::b32});
  bind_binary(i, Type::b32, Type::b32, Type::b32);
  i.run(clamp ? binary<uint32_t, uint32_t, uint32_t, Bmsk<true>> : binary<uint32_t, uint32_t, uint32_t, Bmsk<false>>,
        OpClass::integer);
}

void szext(Decoding& i) {
  const bool clamp = i.one_of({"clamp", "wrap"}) == 0;
  const Type t = i.type({Type::u32, Type::s32});
  bind_binary(i, t, t, Type::u32);
  using U = uint32_t;
  using S = int32_t;
  i.run(t == Type::u32 ? (clamp ? binary<U, U, U, Szext<U, true>> : binary<U, U, U, Szext<U, false>>)
                       : (clamp ? binary<S, S, U, Szext<S, true>> : binary<S, S, U, Szext<S, false>>),
        OpClass::integer);
}

template <class A, class B>
Handler dot(int form) {
  using W = uint32_t;
  if (form == 0) return ternary<W, W, W, W, Dp4a<A, B>>;
  using Wide = std::conditional_t<std::is_signed_v<A>, int16_t, uint16_t>;
  return form == 1 ? ternary<W, W, W, W, Dp2a<Wide, B, 0>> : ternary<W, W, W, W, Dp2a<Wide, B, 16>>;
}

// form: 0 for dp4a, 1 for dp2a.lo, 2 for dp2a.hi
void decode_dot(Decoding& i, int form) {
  const Type a = i.type({Type::u32, Type::s32}), b = i.type({Type::u32, Type::s32});
  const Type c = a == Type::u32 && b == Type::u32 ? Type::u32 : Type::s32;
  bind_ternary(i, c, Type::b32, Type::b32, c);
  i.run(a == Type::u32 ? (b == Type::u32 ? dot<uint8_t, uint8_t>(form) : dot<uint8_t, int8_t>(form))
                       : (b == Type::u32 ? dot<int8_t, uint8_t>(form) : dot<int8_t, int8_t>(form)),
        OpClass::integer);
}
void dp4a(Decoding& i) { decode_dot(i, 0); }
void dp2a(Decoding& i) { decode_dot(i, 1 + i.one_of({"lo", "hi"})); }

}  // namespace

std::span<const Opcode> bit_opcodes() {
  static const Opcode table[] = {
      {"bfe", bfe},   {"bfi", decode_bfi},   {"bfind", bfind}, {"bmsk", bmsk},
      {"brev", brev}, {"clz", count<Clz>},   {"dp2a", dp2a},   {"dp4a", dp4a},
      {"fns", fns},   {"popc", count<Popc>}, {"szext", szext},
  };
  return table;
}

}  // namespace vgpu

#pragma once
// The operations of atom and red, and their application to a location. (PTX ISA, "Parallel Synchronization and
// Communication Instructions": atom, red.)
#include <immintrin.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace vgpu::atomic {

// Each operation has apply(old value, operand), which returns the new value.
struct Add {
  template <class T>
  static T apply(T old, T b) {
    return static_cast<T>(old + b);
  }
};
// atom.add.f32 flushes subnormals in global memory but keeps them in shared memory.
struct AddFlushed {
  static float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
  static float apply(float old, float b) { return flushed(flushed(old) + flushed(b)); }
};
struct Inc {
  static uint32_t apply(uint32_t old, uint32_t b) { return old >= b ? 0 : old + 1; }
};
struct Dec {
  static uint32_t apply(uint32_t old, uint32_t b) { return old == 0 || old > b ? b : old - 1; }
};
struct Min {
  template <class T>
  static T apply(T old, T b) {
    return b < old ? b : old;
  }
};
struct Max {
  template <class T>
  static T apply(T old, T b) {
    return b > old ? b : old;
  }
};
struct And {
  template <class T>
  static T apply(T old, T b) {
    return old & b;
  }
};
struct Or {
  template <class T>
  static T apply(T old, T b) {
    return old | b;
  }
};
struct Xor {
  template <class T>
  static T apply(T old, T b) {
    return old ^ b;
  }
};
struct Exch {
  template <class T>
  static T apply(T, T b) {
    return b;
  }
};

// Half precision. Rounding a sum first to single precision is harmless, since 24 >= 2 * 11 + 2 bits.
struct Half {
  static float widen(uint16_t x) { return _cvtsh_ss(x); }
  static uint16_t narrow(float x) { return x != x ? 0x7fff : _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT); }
};
struct Bfloat {
  static float widen(uint16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }
  static uint16_t narrow(float x) {
    const auto bits = std::bit_cast<uint32_t>(x);
    return x != x ? 0x7fff : static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};
enum class HalfOperation { add, min, max };
// One value in 16 bits, or two in 32.
template <class H, HalfOperation O>
struct OnHalves {
  static uint16_t one(uint16_t x, uint16_t y) {
    const float a = H::widen(x), b = H::widen(y);
    if (O == HalfOperation::add) return H::narrow(a + b);
    if (a != a && b != b) return 0x7fff;
    // A number wins over a NaN, and -0 is less than +0.
    const bool less = a < b || b != b || (a == b && std::signbit(a));
    return O == HalfOperation::min ? (less && a == a ? x : y)
                                   : (a > b || b != b || (a == b && !std::signbit(a)) ? x : y);
  }
  static uint16_t apply(uint16_t old, uint16_t b) { return one(old, b); }
  static uint32_t apply(uint32_t old, uint32_t b) {
    return one(static_cast<uint16_t>(old), static_cast<uint16_t>(b)) |
           static_cast<uint32_t>(one(static_cast<uint16_t>(old >> 16), static_cast<uint16_t>(b >> 16))) << 16;
  }
};

// The unsigned integer type through which a value is exchanged.
template <class T>
struct BitsOf {
  using type = T;
};
template <>
struct BitsOf<float> {
  using type = uint32_t;
};
template <>
struct BitsOf<double> {
  using type = uint64_t;
};

// The blocks of a cluster share a host thread, other blocks may run on different ones. Only shared memory therefore
// needs no host atomics.
template <class T, class F>
T update(std::byte* at, T b, bool exclusive) {
  using Bits = typename BitsOf<T>::type;
  auto* word = reinterpret_cast<Bits*>(at);
  if (exclusive) {
    const T old = std::bit_cast<T>(*word);
    *word = std::bit_cast<Bits>(F::apply(old, b));
    return old;
  }
  Bits seen = __atomic_load_n(word, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(word, &seen, std::bit_cast<Bits>(F::apply(std::bit_cast<T>(seen), b)), false,
                                      __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
  }
  return std::bit_cast<T>(seen);
}

}  // namespace vgpu::atomic

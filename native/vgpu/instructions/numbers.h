#pragma once
// Number formats and rounding. If a result must be rounded once and the host has no instruction for it, it is computed
// exactly as a Number and encoded from there.
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "ptx/types.h"

namespace vgpu {

enum class Rounding : uint8_t { nearest, zero, down, up, away };  // .rn .rz .rm .rp .rna

// Sets the host's rounding direction until the end of the scope. Lane registers are in memory, whose loads and stores
// do not move across the asm statements, so the arithmetic in between stays within the scope.
class RoundingScope {
 public:
  explicit RoundingScope(Rounding r) : before_(_mm_getcsr()) {
    constexpr unsigned kDirection[] = {0, 3, 1, 2, 0};
    set((before_ & ~0x6000u) | kDirection[static_cast<int>(r)] << 13);
  }
  ~RoundingScope() { set(before_); }
  RoundingScope(const RoundingScope&) = delete;
  RoundingScope& operator=(const RoundingScope&) = delete;

 private:
  static void set(unsigned csr) { asm volatile("ldmxcsr %0" : : "m"(csr) : "memory"); }
  unsigned before_;
};

constexpr float kNan32 = std::bit_cast<float>(0x7fffffffu);  // the canonical NaN
constexpr uint16_t kNan16 = 0x7fff;                          // of f16 and bf16

// .ftz: subnormal operands and results become zeros of the same sign.
inline float flushed(float x) { return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }
// .sat: clamps to [0, 1]; NaN becomes +0.
template <class T>
T saturated(T x) {
  return x > T{0} ? (x < T{1} ? x : T{1}) : T{0};
}
// Single-precision results that are NaN have one encoding; the ISA leaves double-precision ones open.
inline float canonical(float x) { return x == x ? x : kNan32; }
inline double canonical(double x) { return x; }

// min and max: of a number and a NaN the result is the number, or with .NaN the NaN.
template <bool Max, bool Nan, bool XorSign>
struct Extreme {
  template <class T>
  static T apply(T a, T b) {
    using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    const U sign = (std::bit_cast<U>(a) ^ std::bit_cast<U>(b)) & std::bit_cast<U>(T{-0.0});
    if (XorSign) {
      a = std::fabs(a);
      b = std::fabs(b);
    }
    T r = Max ? (a > b ? a : b) : (a < b ? a : b);
    // +0 is greater than -0, although they compare equal.
    const U same = Max ? std::bit_cast<U>(a) & std::bit_cast<U>(b) : std::bit_cast<U>(a) | std::bit_cast<U>(b);
    r = a == b ? std::bit_cast<T>(same) : r;
    r = a != a ? (Nan ? a : b) : b != b ? (Nan ? b : a) : r;
    if (XorSign) r = r == r ? std::bit_cast<T>(std::bit_cast<U>(r) | sign) : r;
    return canonical(r);
  }
};

// A format, given by its widths. Without infinity the highest encoding is NaN and the one below is the largest number
// (e4m3).
struct Format {
  int exponent_bits, mantissa_bits;
  bool infinity = true;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  int lowest_exponent() const { return 1 - bias() - mantissa_bits; }  // weight of a subnormal's last bit
  uint64_t sign() const { return uint64_t{1} << (exponent_bits + mantissa_bits); }
  uint64_t overflow() const { return infinity ? ((uint64_t{1} << exponent_bits) - 1) << mantissa_bits : sign() - 1; }
};

inline Format format_of(Type t) {
  switch (t) {
    case Type::f16: return {5, 10};
    case Type::bf16: return {8, 7};
    case Type::tf32: return {8, 10};
    case Type::f64: return {11, 52};
    case Type::e4m3: return {4, 3, false};
    case Type::e5m2: return {5, 2};
    default: return {8, 23};
  }
}

// The exact value ±magnitude * 2^exponent.
struct Number {
  enum class Kind : uint8_t { finite, infinite, nan } kind = Kind::finite;
  bool negative = false;
  int exponent = 0;
  uint64_t magnitude = 0;
};

inline Number decoded(uint64_t bits, const Format& f) {
  Number n;
  n.negative = bits & f.sign();
  bits &= f.sign() - 1;
  if (bits >= f.overflow()) {
    n.kind = f.infinity && bits == f.overflow() ? Number::Kind::infinite : Number::Kind::nan;
    return n;
  }
  const uint64_t hidden = uint64_t{1} << f.mantissa_bits;
  const auto exponent = static_cast<int>(bits >> f.mantissa_bits);
  n.magnitude = (bits & (hidden - 1)) | (exponent ? hidden : 0);
  n.exponent = f.lowest_exponent() + (exponent ? exponent - 1 : 0);
  return n;
}

// Rounds magnitude / 2^shift to an integer.
inline uint64_t rounded(uint64_t magnitude, int shift, bool negative, Rounding r) {
  const uint64_t whole = shift < 64 ? magnitude >> shift : 0;
  const uint64_t remainder = shift < 64 ? magnitude & ((uint64_t{1} << shift) - 1) : magnitude;
  // UINT64_MAX: the remainder is always less
  const uint64_t half = shift <= 64 ? uint64_t{1} << (shift - 1) : UINT64_MAX;
  bool up = false;
  switch (r) {
    case Rounding::nearest: up = remainder > half || (remainder == half && (whole & 1) && shift <= 64); break;
    case Rounding::away: up = remainder >= half && shift <= 64; break;
    case Rounding::down: up = negative && remainder; break;
    case Rounding::up: up = !negative && remainder; break;
    case Rounding::zero: break;
  }
  return whole + up;
}

// The encoding of a finite number. `finite`: overflow gives the largest number.
inline uint64_t encoded(const Number& n, const Format& f, Rounding r, bool finite = false) {
  const uint64_t sign = n.negative ? f.sign() : 0;
  if (n.magnitude == 0) return sign;
  const int top = n.exponent + 63 - std::countl_zero(n.magnitude);
  if (top > f.bias() + (f.infinity ? 0 : 1)) {
    if (finite || r == Rounding::zero || r == (n.negative ? Rounding::up : Rounding::down))
      return sign | (f.overflow() - 1);
    return sign | f.overflow();
  }
  const int last = std::max(top - f.mantissa_bits, f.lowest_exponent());
  const int shift = last - n.exponent;
  const uint64_t mantissa = shift <= 0 ? n.magnitude << -shift : rounded(n.magnitude, shift, n.negative, r);
  // A carry out of the mantissa correctly increments the exponent.
  uint64_t bits = (static_cast<uint64_t>(last - f.lowest_exponent()) << f.mantissa_bits) + mantissa;
  if (bits >= f.overflow() && finite) bits = f.overflow() - 1;
  return sign | bits;
}

// The nearest number of the format. x must not be NaN.
inline uint64_t nearest(double x, const Format& f) {
  const Number n = decoded(std::bit_cast<uint64_t>(x), {11, 52});
  if (n.kind == Number::Kind::infinite) return (n.negative ? f.sign() : 0) | f.overflow();
  return encoded(n, f, Rounding::nearest);
}

// --- halves ----------------------------------------------------------------------------------------------------------
// `count` must be a multiple of 8. Narrowing rounds to nearest and makes NaN canonical.

struct Half {
  static constexpr Format format{5, 10};
  static constexpr uint16_t smallest_normal = 0x0400, infinity = 0x7c00;
  static void widen(const uint16_t* from, float* to, int count) {
    for (int l = 0; l < count; l += 8)
      _mm256_storeu_ps(to + l, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + l))));
  }
  static void narrow(const float* from, uint16_t* to, int count) {
    for (int l = 0; l < count; l += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + l),
                       _mm256_cvtps_ph(_mm256_loadu_ps(from + l), _MM_FROUND_TO_NEAREST_INT));
    for (int l = 0; l < count; l++) to[l] = (to[l] & 0x7fff) > infinity ? kNan16 : to[l];
  }
};
struct Bfloat {
  static constexpr Format format{8, 7};
  static constexpr uint16_t smallest_normal = 0x0080, infinity = 0x7f80;
  static void widen(const uint16_t* from, float* to, int count) {
    for (int l = 0; l < count; l++) to[l] = std::bit_cast<float>(static_cast<uint32_t>(from[l]) << 16);
  }
  static void narrow(const float* from, uint16_t* to, int count) {
    for (int l = 0; l < count; l++) {
      const auto bits = std::bit_cast<uint32_t>(from[l]);
      to[l] = from[l] == from[l] ? static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16) : kNan16;
    }
  }
};
inline uint16_t flushed_half(uint16_t h, uint16_t smallest_normal) {
  return (h & 0x7fff) < smallest_normal ? static_cast<uint16_t>(h & 0x8000) : h;
}

}  // namespace vgpu

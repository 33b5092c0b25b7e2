#pragma once
// Prepares rows of x for weights that are stored as codes with scales (gemm_code.h).
#include <algorithm>

#include "cpu/gemm_code.h"
#include "cpu/reduce.h"

namespace caracal::CARACAL_ISA {

// The largest magnitude of 128 or fewer elements, as the bits of an f32: a NaN counts as larger than infinity.
CARACAL_INLINE uint32_t max_magnitude(const float* x, int64_t count) {
  U32x16 largest{};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const U32x16 bits = bits_of(abs(load16(x + i)));
    CARACAL_EACH_PART largest.v[part] = (VecI)bits.v[part] > (VecI)largest.v[part] ? bits.v[part] : largest.v[part];
  }
  uint32_t lanes[16], result = 0;
  memcpy(lanes, &largest, sizeof(lanes));
  for (uint32_t lane : lanes) result = std::max(result, lane);
  for (; i < count; i++) result = std::max(result, float_bits(x[i]) & 0x7fffffffu);
  return result;
}

// 2^e, for e in [-126, 127].
CARACAL_INLINE float power_of_two(int e) { return float_from_bits(static_cast<uint32_t>(e + 127) << 23); }

// Codes of e4m3 read as their values times 2^-120. Each chain of x is multiplied by the power of two that brings its
// largest magnitude near 2^80, so that products neither overflow nor become subnormal; its term undoes both. The element
// after an odd row is zeroed, as it meets the padding of the codes.
template <class W>
  requires std::is_same_v<W, f8e4m3>
CARACAL_INLINE void prepare_row(float* x, int64_t count, int64_t chain, float* terms) {
  for (int64_t first = 0; first < count; first += chain) {
    const int64_t end = std::min(first + chain, count);
    const int exponent = static_cast<int>(max_magnitude(x + first, end - first) >> 23) - 127;
    const int shift = std::clamp(80 - exponent, 0, 127);
    const F32x16 factor = set1(power_of_two(shift));
    for (int64_t i = first; i < end; i += 16) store16(x + i, load16(x + i) * factor);
    terms[first / chain] = power_of_two(120 - shift);
  }
  x[count] = 0;
}

// Integer codes read as their values times the power of two of their position, which the elements of x make up for. The
// term of a chain is the sum of its elements.
template <class W>
  requires(std::is_same_v<W, q4> || std::is_same_v<W, q8>)
CARACAL_INLINE void prepare_row(float* x, int64_t count, int64_t chain, float* terms) {
  alignas(64) float factors[16];
  for (int i = 0; i < 16; i++) factors[i] = Code<W>::kFactors[i % 4];
  const F32x16 factor = load16(factors);
  for (int64_t first = 0; first < count; first += chain) {
    F32x16 sum = zero();
    for (int64_t i = first; i < first + chain; i += 16) {
      const F32x16 v = load16(x + i);
      sum += v;
      store16(x + i, v * factor);
    }
    terms[first / chain] = hsum(sum);
  }
}

}  // namespace caracal::CARACAL_ISA

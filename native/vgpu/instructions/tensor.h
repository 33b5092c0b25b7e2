#pragma once
// The arithmetic of mma and wmma, d = a b + c, for formats whose values single precision represents.
#include <immintrin.h>

#include <cstdint>

#include "machine/launch.h"

namespace vgpu::tensor {

enum class Format : uint8_t { f16, bf16, tf32, e4m3, e5m2 };

constexpr int bytes_of(Format f) { return f == Format::tf32 ? 4 : f == Format::e4m3 || f == Format::e5m2 ? 1 : 2; }

// The values of all 256 encodings of an 8-bit format.
const float* table_of(Format f);

// Widens the elements of 16 bytes.
template <Format F>
inline void widen(const void* from, float* to) {
  const __m128i x = _mm_loadu_si128(static_cast<const __m128i*>(from));
  if constexpr (F == Format::f16) {
    _mm256_storeu_ps(to, _mm256_cvtph_ps(x));
  } else if constexpr (F == Format::bf16) {
    _mm256_storeu_ps(to, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)));
  } else if constexpr (F == Format::tf32) {
    // The lower 13 bits are not part of the value.
    _mm_storeu_ps(to, _mm_castsi128_ps(_mm_and_si128(x, _mm_set1_epi32(~0x1fff))));
  } else {
    const float* table = table_of(F);
    for (int i = 0; i < 16; i++) to[i] = table[static_cast<const uint8_t*>(from)[i]];
  }
}

// Transposes 8 rows: to[j][i] = from[i][j], with `columns` per row (a multiple of 4).
inline void transpose8(const float* from, int columns, float* to) {
  for (int j = 0; j < columns; j += 4) {
    auto pair = [&](int row) {  // rows `row` and `row` + 4 in the two halves
      return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from + row * columns + j)),
                                  _mm_loadu_ps(from + (row + 4) * columns + j), 1);
    };
    const __m256 a = pair(0), b = pair(1), c = pair(2), d = pair(3);
    const __m256 ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d), ab2 = _mm256_unpackhi_ps(a, b),
                 cd2 = _mm256_unpackhi_ps(c, d);
    _mm256_storeu_ps(to + 8 * j, _mm256_shuffle_ps(ab, cd, 0x44));
    _mm256_storeu_ps(to + 8 * (j + 1), _mm256_shuffle_ps(ab, cd, 0xee));
    _mm256_storeu_ps(to + 8 * (j + 2), _mm256_shuffle_ps(ab2, cd2, 0x44));
    _mm256_storeu_ps(to + 8 * (j + 3), _mm256_shuffle_ps(ab2, cd2, 0xee));
  }
}

// a: m x k, b: k x 8, d: m x 8, initially c. m is a multiple of 8.
inline void multiply_chain(float* d, const float* a, const float* b, int m, int k) {
  for (int row = 0; row < m; row += 8) {
    __m256 sum[8];
    for (int r = 0; r < 8; r++) sum[r] = _mm256_loadu_ps(d + 8 * (row + r));
    for (int i = 0; i < k; i++) {
      const __m256 bi = _mm256_loadu_ps(b + 8 * i);
      for (int r = 0; r < 8; r++) sum[r] = _mm256_fmadd_ps(_mm256_broadcast_ss(a + (row + r) * k + i), bi, sum[r]);
    }
    for (int r = 0; r < 8; r++) _mm256_storeu_ps(d + 8 * (row + r), sum[r]);
  }
}

// The other ways to accumulate. `element_bytes` and the device determine how many products the hardware adds at once.
void multiply_otherwise(float* d, const float* a, const float* b, int m, int k, Accumulation how, int element_bytes,
                        uint32_t compute);

inline void multiply(float* d, const float* a, const float* b, int m, int k, int element_bytes, const Launch& launch) {
  if (launch.options.accumulation == Accumulation::chain) [[likely]]
    multiply_chain(d, a, b, m, k);
  else
    multiply_otherwise(d, a, b, m, k, launch.options.accumulation, element_bytes, launch.limits.compute);
}

// Integer products: pairs of 16-bit values along k, whose sums of products fit in 32 bits. `sum` does not include c.
inline void multiply_pairs(int32_t* sum, const int32_t* a, const int32_t* b, int m, int pairs) {
  for (int row = 0; row < m; row++) {
    __m256i s = _mm256_setzero_si256();
    for (int i = 0; i < pairs; i++)
      s = _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_set1_epi32(a[row * pairs + i]),
                                                _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + 8 * i))));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sum + 8 * row), s);
  }
}

// .satfinite clamps instead of wrapping around.
inline int32_t add_integers(int32_t c, int32_t sum, bool satfinite) {
  const int64_t wide = int64_t{c} + sum;
  if (!satfinite) return static_cast<int32_t>(wide);
  return static_cast<int32_t>(wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : wide);
}

}  // namespace vgpu::tensor

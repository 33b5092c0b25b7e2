// Tiles of q4 and q8 weights by rows of 8-bit integers (gemm_kernel.h), for processors with AVX2.
//
// A lane of codes holds four k of a row, so that a multiply-add of bytes and its sum of pairs leave the products of a
// column in the column's lane. The sums of a chain are exact integers; they become f32 when they are scaled.
#include "cpu/gemm_code.h"
#include "cpu/gemm_kernel.h"

#if defined(__AVX2__)

namespace caracal::CARACAL_ISA {
namespace {

constexpr int kHalves = 2;    // vectors of eight columns
constexpr int64_t kSum = 32;  // elements of k whose products a 16-bit sum of q4 holds: 32 / 2 * 15 * 127 < 2^15

CARACAL_INLINE __m256i load_codes(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// Four elements of a row, in every lane.
CARACAL_INLINE __m256i four(const int8_t* a) {
  int32_t lane;
  memcpy(&lane, a, sizeof(lane));
  return _mm256_set1_epi32(lane);
}

// total += the products of kSum elements.
template <int R, int P>
CARACAL_INLINE void add_products(q4, const int8_t* a, int64_t a_stride, const std::byte* const (&w)[P], int64_t offset,
                                 __m256i (&total)[P][R][kHalves]) {
  const __m256i low_bits = _mm256_set1_epi8(15);
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    __m256i sum[R][kHalves];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int64_t step = 0; step < kSum / 4; step++) {
      const __m256i codes = load_codes(w[p] + offset + step * Code<q4>::kBytes);
      const __m256i low = _mm256_and_si256(codes, low_bits);
      const __m256i high = _mm256_and_si256(_mm256_srli_epi16(codes, 4), low_bits);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const __m256i x = four(a + r * a_stride + step * 4);
        sum[r][0] = _mm256_add_epi16(sum[r][0], _mm256_maddubs_epi16(low, x));
        sum[r][1] = _mm256_add_epi16(sum[r][1], _mm256_maddubs_epi16(high, x));
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
      for (int h = 0; h < kHalves; h++)
        total[p][r][h] = _mm256_add_epi32(total[p][r][h], _mm256_madd_epi16(sum[r][h], _mm256_set1_epi16(1)));
  }
}

// Codes count from 128 here: the bias makes up for it. Their magnitudes multiply elements that take their signs, since the
// instruction wants one unsigned factor, and sums of two products of full range would not fit into 16 bits.
template <int R, int P>
CARACAL_INLINE void add_products(q8, const int8_t* a, int64_t a_stride, const std::byte* const (&w)[P], int64_t offset,
                                 __m256i (&total)[P][R][kHalves]) {
  for (int64_t step = 0; step < kSum / 4; step++) {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; h++) {
        const std::byte* at = w[p] + offset + step * Code<q8>::kBytes + h * 32;
        const __m256i codes = _mm256_xor_si256(load_codes(at), _mm256_set1_epi8(int8_t(-128)));
        const __m256i magnitudes = _mm256_abs_epi8(codes);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
          const __m256i x = _mm256_sign_epi8(four(a + r * a_stride + step * 4), codes);
          const __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, x), _mm256_set1_epi16(1));
          total[p][r][h] = _mm256_add_epi32(total[p][r][h], pairs);
        }
      }
    }
  }
}

// Adds a chain's totals, scaled, to c, or stores them if `add` is false.
template <class W, int R, int P>
CARACAL_INLINE void finish_chain(const Tile& t, const __m256i (&total)[P][R][kHalves], int64_t chain, bool add) {
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    const std::byte* scales = t.scales[p] + chain * t.scales_stride;
    const F32x16 scale = load_scales(scales, 0, t.scale_dtype);
    F32x16 bias = load_scales(scales, kPanelColumns, t.scale_dtype);
    if (std::is_same_v<W, q8>) bias = fma(set1(128.f), scale, bias);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const float* terms = t.row_terms + r * t.row_terms_stride + chain * 2;
      float* c = t.c + p * t.c_panel_stride + r * kPanelColumns;
      float sums[kPanelColumns];
      for (int h = 0; h < kHalves; h++) _mm256_storeu_ps(sums + h * 8, _mm256_cvtepi32_ps(total[p][r][h]));
      const F32x16 sum = load16(sums) * set1(terms[0]);
      store16(c, fma(bias, set1(terms[1]), fma(sum, scale, add ? load16(c) : zero())));
    }
  }
}

template <int R, int P, class W>
void tile(const Tile& t) {
  const auto* a = reinterpret_cast<const int8_t*>(t.a);
  const int64_t a_stride = t.a_stride * static_cast<int64_t>(sizeof(float));
  const int64_t scale_bytes = 2 * kPanelColumns * static_cast<int64_t>(dtype_bytes(t.scale_dtype));
  const std::byte* w[P];
  const char* ahead[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    w[p] = t.w[p];
    ahead[p] = t.ahead[p];
  }
  const auto prefetch = [&](int64_t bytes) {
    for (; bytes > 0; bytes -= 64) {
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) {
        __builtin_prefetch(ahead[p], 0, 2);
        ahead[p] += t.ahead_step;
      }
    }
  };
  int64_t offset = 0;
  for (int64_t k = 0, chain = 0; k < t.k; chain++) {
    __m256i total[P][R][kHalves];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++)
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) total[p][r][0] = total[p][r][1] = _mm256_setzero_si256();
    for (const int64_t end = k + t.chain; k < end; k += kSum) {
      constexpr int64_t bytes = kSum / Code<W>::kStep * Code<W>::kBytes;
      prefetch(bytes);
      add_products<R, P>(W{}, a + k, a_stride, w, offset, total);
      offset += bytes;
    }
    finish_chain<W>(t, total, chain, t.add || chain > 0);
    prefetch(scale_bytes);
    offset += scale_bytes;
  }
}

}  // namespace

template <class W>
void run_int8_tile(const Tile& t, int rows, int panels) {
  choose_tile<int8_panels_per_pass, kInt8TileRows>(rows, panels, [&]<int R, int P>() { tile<R, P, W>(t); });
}
template void run_int8_tile<q8>(const Tile&, int, int);
template void run_int8_tile<q4>(const Tile&, int, int);

}  // namespace caracal::CARACAL_ISA

#endif

#pragma once
// The register tiles of the matrix product: R rows by P panels of sixteen columns, accumulated over k in registers.
//
// Every sum is one chain of fma over k = 0 ... K - 1, whatever R, P and the blocking: an interrupted chain is stored as
// f32 and resumed. A product may ask for shorter chains, which are added in order. So the bits of a row depend only on the
// row, the weight and the instruction set.
#include "cpu/gemm_panels.h"
#include "cpu/simd.h"

namespace caracal::CARACAL_ISA {

#if defined(__AVX512F__)
inline constexpr int kRegisters = 32;
inline constexpr int kAccumulators = 28;  // leaves registers for weights and the broadcast element
inline constexpr int kTileRows = 14;
#elif defined(__AVX2__)
inline constexpr int kRegisters = 16;
inline constexpr int kAccumulators = 12;
inline constexpr int kTileRows = 6;
#else
inline constexpr int kRegisters = 16;
inline constexpr int kAccumulators = 8;
inline constexpr int kTileRows = 2;
#endif
inline constexpr int kMaxPanels = 4;  // per pass: several streams keep memory busier than one

// The number of panels in a pass over `rows` rows.
CARACAL_INLINE constexpr int panels_per_pass(int rows) {
  const int fit = kAccumulators / (rows * kParts);
  return fit < 1 ? 1 : fit < kMaxPanels ? fit : kMaxPanels;
}

// --- one group of sixteen weights, in column order ------------------------------------------------------------------

CARACAL_INLINE F32x16 decode(const float* p, float) { return load16(p); }

CARACAL_INLINE F32x16 decode(const bf16* p, float) {
#if defined(__AVX512F__)
  const __m512i pairs = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  const __m512i high = _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  return {{(VecF)_mm512_mask_slli_epi32(high, 0x00ff, pairs, 16)}};
#else
  typedef uint32_t Pairs __attribute__((vector_size(64 / kParts), aligned(2), may_alias));
  constexpr int half = kParts / 2;
  F32x16 r;
#pragma GCC unroll 2
  for (int i = 0; i < half; i++) {
    const VecU pairs = *reinterpret_cast<const Pairs*>(p + i * kPartLanes * 2);
    r.v[i] = (VecF)(pairs << 16);
    r.v[i + half] = (VecF)(pairs & 0xffff0000u);
  }
  return r;
#endif
}

// The weight is value * scale rounded to f32; scale must be less than kDirectScale.
inline constexpr float kDirectScale = 256.f;

CARACAL_INLINE F32x16 decode(const f8e4m3* p, float scale) {
  // Shifted into the fields of an f32, an e4m3 code reads as its value times 2^-120, subnormals included.
  constexpr uint32_t fields = 0x87f00000u;
  const float factor = scale * 0x1p120f;
  F32x16 r;
#if defined(__AVX512F__)
  const __m512i group = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m512i left =
      _mm512_set_epi64(0, 0, 0x800000008, 0x800000008, 0x1000000010, 0x1000000010, 0x1800000018, 0x1800000018);
  const VecI code = (VecI)_mm512_sllv_epi32(group, left);
  r.v[0] = (VecF)((VecU)(code >> 4) & fields) * factor;
#elif defined(__AVX2__)
  const __m256i group = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const VecI low = (VecI)_mm256_sllv_epi32(group, _mm256_setr_epi32(24, 24, 24, 24, 16, 16, 16, 16));
  const VecI high = (VecI)_mm256_sllv_epi32(group, _mm256_setr_epi32(8, 8, 8, 8, 0, 0, 0, 0));
  r.v[0] = (VecF)((VecU)(low >> 4) & fields) * factor;
  r.v[1] = (VecF)((VecU)(high >> 4) & fields) * factor;
#else
  typedef uint32_t Group __attribute__((vector_size(16), aligned(1), may_alias));
  const VecU group = *reinterpret_cast<const Group*>(p);
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) r.v[i] = (VecF)((VecU)((VecI)(group << (24 - 8 * i)) >> 4) & fields) * factor;
#endif
  return r;
}

// --- tiles ----------------------------------------------------------------------------------------------------------

// The arguments of a tile: rows at a + r * a_stride, panels at w[p], both from the tile's first k on, sums at
// c + p * c_panel_stride + r * 16. Every four k, the tile prefetches sizeof(W) addresses per panel, starting at ahead[p],
// ahead_step bytes apart.
template <class W>
struct Tile {
  const float* a;
  int64_t a_stride;
  const W* w[kMaxPanels];
  float scale[kMaxPanels];  // f8e4m3 only, whose k stay within one scale block
  int64_t k;
  float* c;
  int64_t c_panel_stride;
  bool resume;    // continues the chains in c
  bool add;       // adds new chains to the sums in c
  int64_t chain;  // k per chain, a multiple of 4, of chains that are added in order; 0: all
  const char* ahead[kMaxPanels];
  int64_t ahead_step;
};

// Runs a tile of `rows` rows (at most kTileRows) by `panels` panels (at most panels_per_pass(rows)). Defined in a file of
// their own, gemm_kernel.cpu.cc, since the unrolled tiles take long to compile.
void run_tile(const Tile<float>& t, int rows, int panels);
void run_tile(const Tile<bf16>& t, int rows, int panels);
void run_tile(const Tile<f8e4m3>& t, int rows, int panels);

}  // namespace caracal::CARACAL_ISA

#pragma once
// The register tiles of the matrix product: R rows by P panels of sixteen columns, accumulated over k in registers.
//
// Every sum is made of chains of fma over k, whatever R, P and the blocking. f32 and bf16 have one chain over k = 0 ... K - 1:
// an interrupted one is stored as f32 and resumed. A product may ask for shorter chains, which are added in order. Dtypes
// with scales have a chain per group, whose sum is scaled as it is added. So the bits of a row depend only on the row, the
// weight and the instruction set.
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

// sum += x * w, as inline assembly: GCC 12 prefers the instructions that overwrite a factor, so that accumulators move
// between registers until some are spilled.
CARACAL_INLINE void accumulate(F32x16& sum, F32x16 x, F32x16 w) {
#if defined(__AVX2__) && defined(__GNUC__)
  CARACAL_EACH_PART asm("vfmadd231ps %2, %1, %0" : "+v"(sum.v[part]) : "v"(x.v[part]), "v"(w.v[part]));
#else
  sum = fma(x, w, sum);
#endif
}

// The number of panels in a pass over `rows` rows.
CARACAL_INLINE constexpr int panels_per_pass(int rows) {
  const int fit = kAccumulators / (rows * kParts);
  return fit < 1 ? 1 : fit < kMaxPanels ? fit : kMaxPanels;
}

// The arguments of a tile: rows at a + r * a_stride, panels at w[p], both from the tile's first k on, sums at
// c + p * c_panel_stride + r * 16. For every 64 bytes of a panel, the tile prefetches an address, starting at ahead[p],
// ahead_step bytes apart.
struct Tile {
  const float* a;
  int64_t a_stride;
  const std::byte* w[kMaxPanels];
  int64_t k;
  float* c;
  int64_t c_panel_stride;
  bool resume;    // continues the chains in c
  bool add;       // adds new chains to the sums in c
  int64_t chain;  // k per chain, a multiple of 4, of chains that are added in order; 0: all
  const char* ahead[kMaxPanels];
  int64_t ahead_step;

  // Dtypes with scales only. Chain i of row r has row_terms[r * row_terms_stride + i]: with f8e4m3, the factor that undoes
  // those of codes and rows; with q4 and q8, the sum of the row's elements, which the bias multiplies.
  const float* row_terms;
  int64_t row_terms_stride;
  const std::byte* scales[kMaxPanels];  // of the first chain: one f32, or sixteen scales and sixteen biases
  int64_t scales_stride;                // bytes from one chain's scales to the next one's
  DType scale_dtype;                    // f32, bf16 or f16
};

// Codes of q8 and q4 that were widened to f32, since several tiles multiply with them. The scales stay where they are.
struct WideCodes {};

// Widens `count` elements of k of a panel, from w on.
template <class W>
void widen_codes(const std::byte* w, const GroupScales& groups, int64_t count, std::byte* out);

// Runs a tile of `rows` rows (at most kTileRows) by `panels` panels (at most panels_per_pass(rows)). Defined in a file of
// their own, gemm_kernel.cpu.cc, since the unrolled tiles take long to compile.
template <class W>
void run_tile(const Tile& t, int rows, int panels);

// Calls run.operator()<R, P>() with the numbers of rows and panels as constants; of rows, at most R, and of panels, at most
// kPanels(rows).
template <int (*kPanels)(int), int R, int P = kPanels(R), class Run>
void choose_tile(int rows, int panels, const Run& run) {
  if (rows < R) {
    if constexpr (R > 1) choose_tile<kPanels, R - 1>(rows, panels, run);
  } else if (panels < P) {
    if constexpr (P > 1) choose_tile<kPanels, R, P - 1>(rows, panels, run);
  } else {
    run.template operator()<R, P>();
  }
}

// Whether there are tiles of q8 and q4 weights by rows of 8-bit integers.
#if defined(__AVX2__)
inline constexpr bool kInt8Rows = true;
#else
inline constexpr bool kInt8Rows = false;
#endif
inline constexpr int kInt8TileRows = 4;

CARACAL_INLINE constexpr int int8_panels_per_pass(int rows) { return rows < kMaxPanels ? kMaxPanels / rows : 1; }

// Runs such a tile. The elements of rows were rounded to integers, one scale per chain: element k of row r is the byte k of
// a + r * a_stride. Chain i of row r has two terms at row_terms + r * row_terms_stride + 2 * i: its scale, and the sum of
// its elements before they were rounded. Defined where kInt8Rows is true.
template <class W>
void run_int8_tile(const Tile& t, int rows, int panels);

}  // namespace caracal::CARACAL_ISA

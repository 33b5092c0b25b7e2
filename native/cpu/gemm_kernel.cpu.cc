#include "cpu/gemm_kernel.h"

namespace caracal::CARACAL_ISA {
namespace {

// sum += x * w, as inline assembly: GCC 12 prefers the instructions that overwrite a factor, so that accumulators move
// between registers until some are spilled.
CARACAL_INLINE void accumulate(F32x16& sum, F32x16 x, F32x16 w) {
#if defined(__AVX2__) && defined(__GNUC__)
  CARACAL_EACH_PART asm("vfmadd231ps %2, %1, %0" : "+v"(sum.v[part]) : "v"(x.v[part]), "v"(w.v[part]));
#else
  sum = fma(x, w, sum);
#endif
}

// Adds the products of one k. Each element of x is broadcast once for all panels if the registers suffice, otherwise once
// per panel.
template <int R, int P, class W>
CARACAL_INLINE void step(F32x16 (&sum)[P][R], const float* a, int64_t a_stride, const W* const (&w)[P],
                         const float (&scale)[P], int64_t k) {
  if constexpr ((R * P + P + 1) * kParts + 1 <= kRegisters) {
    F32x16 weight[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) weight[p] = decode(w[p] + k * kPanelColumns, scale[p]);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const F32x16 x = set1(a[r * a_stride + k]);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) accumulate(sum[p][r], x, weight[p]);
    }
  } else {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      const F32x16 weight = decode(w[p] + k * kPanelColumns, scale[p]);
      if (P > 1 && R > 1) asm("" : "+r"(a));  // hides that the panels share x
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) accumulate(sum[p][r], set1(a[r * a_stride + k]), weight);
    }
  }
}

template <int R, int P, class W>
void tile(const Tile<W>& t) {
  constexpr int kUnroll = 4;
  // GCC 12 keeps an accumulator array in memory unless all indices are constants, so all loops over it unroll fully.
  F32x16 sum[P][R];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      sum[p][r] = t.resume ? load16(t.c + p * t.c_panel_stride + r * kPanelColumns) : zero();
    }
  }
  const W* w[P];
  float scale[P];
  const char* ahead[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    w[p] = t.w[p];
    scale[p] = t.scale[p];
    ahead[p] = t.ahead[p];
  }
  const int64_t ahead_step = t.ahead_step;
  const float* a = t.a;
  const int64_t a_stride = t.a_stride;
  int64_t k = 0;
  bool add = t.add;
  do {  // once per chain
    const int64_t end = t.chain > 0 && t.chain < t.k - k ? k + t.chain : t.k;
    for (; k + kUnroll <= end; k += kUnroll) {
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) {
#pragma GCC unroll 4
        for (size_t i = 0; i < sizeof(W); i++) {
          __builtin_prefetch(ahead[p], 0, 2);
          ahead[p] += ahead_step;
        }
      }
#pragma GCC unroll 4
      for (int i = 0; i < kUnroll; i++) step<R, P>(sum, a, a_stride, w, scale, k + i);
    }
    for (; k < end; k++) step<R, P>(sum, a, a_stride, w, scale, k);
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        float* c = t.c + p * t.c_panel_stride + r * kPanelColumns;
        store16(c, add ? load16(c) + sum[p][r] : sum[p][r]);
        sum[p][r] = zero();
      }
    }
    add = true;
  } while (k < t.k);
}

template <class W, int R = kTileRows, int P = panels_per_pass(R)>
void choose_tile(const Tile<W>& t, int rows, int panels) {
  if (rows < R) {
    if constexpr (R > 1) choose_tile<W, R - 1>(t, rows, panels);
  } else if (panels < P) {
    if constexpr (P > 1) choose_tile<W, R, P - 1>(t, rows, panels);
  } else {
    tile<R, P, W>(t);
  }
}

}  // namespace

void run_tile(const Tile<float>& t, int rows, int panels) { choose_tile(t, rows, panels); }
void run_tile(const Tile<bf16>& t, int rows, int panels) { choose_tile(t, rows, panels); }
void run_tile(const Tile<f8e4m3>& t, int rows, int panels) { choose_tile(t, rows, panels); }

}  // namespace caracal::CARACAL_ISA

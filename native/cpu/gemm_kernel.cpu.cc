#include "cpu/gemm_kernel.h"

#include "cpu/gemm_code.h"

namespace caracal::CARACAL_ISA {
namespace {

// Adds the products of element I of a step, which is a[0] of the first row. Each element of x is broadcast once for all
// panels if the registers suffice, otherwise once per panel.
template <int I, int R, int P, class W>
CARACAL_INLINE void multiply(F32x16 (&sum)[P][R], const float* a, int64_t a_stride, const std::byte* const (&w)[P],
                             int64_t offset) {
  if constexpr ((R * P + P + 1) * kParts + 1 <= kRegisters) {
    F32x16 weight[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) weight[p] = Code<W>::template weights<I>(w[p] + offset);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const F32x16 x = set1(a[r * a_stride]);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) accumulate(sum[p][r], x, weight[p]);
    }
  } else {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      const F32x16 weight = Code<W>::template weights<I>(w[p] + offset);
      if (P > 1 && R > 1) asm("" : "+r"(a));  // hides that the panels share x
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) accumulate(sum[p][r], set1(a[r * a_stride]), weight);
    }
  }
}

// The same for every element of the step.
template <int R, int P, class W>
CARACAL_INLINE void multiply_step(F32x16 (&sum)[P][R], const float* a, int64_t a_stride, const std::byte* const (&w)[P],
                                  int64_t offset) {
  each_of_step<W>([&]<int I>()
                      __attribute__((always_inline)) { multiply<I, R, P, W>(sum, a + I, a_stride, w, offset); });
}

// Adds the sums of chain number `chain` to c, or stores them if `add` is false, and clears them.
template <int R, int P, class W>
CARACAL_INLINE void finish_chain(F32x16 (&sum)[P][R], const Tile& t, int64_t chain, bool add) {
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    F32x16 scale = zero(), bias = zero();
    if constexpr (Code<W>::kScaled) {
      const std::byte* scales = t.scales[p] + chain * t.scales_stride;
      if constexpr (Code<W>::kBiased) {
        scale = load_scales(scales, 0, t.scale_dtype);
        bias = load_scales(scales, kPanelColumns, t.scale_dtype);
      } else {
        scale = set1(*reinterpret_cast<const float*>(scales));
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      float* c = t.c + p * t.c_panel_stride + r * kPanelColumns;
      if constexpr (Code<W>::kScaled) {
        const F32x16 term = set1(t.row_terms[r * t.row_terms_stride + chain]), before = add ? load16(c) : zero();
        if constexpr (Code<W>::kBiased)
          store16(c, fma(bias, term, fma(sum[p][r], scale, before)));
        else
          store16(c, fma(sum[p][r] * scale, term, before));
      } else {
        store16(c, add ? load16(c) + sum[p][r] : sum[p][r]);
      }
      sum[p][r] = zero();
    }
  }
}

template <int R, int P, class W>
void tile(const Tile& t) {
  using C = Code<W>;
  constexpr int kIterationBytes = C::kUnroll / C::kStep * C::kBytes;
  static_assert(kIterationBytes % 64 == 0, "an iteration prefetches whole lines");
  // GCC 12 keeps an accumulator array in memory unless all indices are constants, so all loops over it unroll fully.
  F32x16 sum[P][R];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      sum[p][r] = !C::kScaled && t.resume ? load16(t.c + p * t.c_panel_stride + r * kPanelColumns) : zero();
    }
  }
  const std::byte* w[P];
  const char* ahead[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    w[p] = t.w[p];
    ahead[p] = t.ahead[p];
  }
  const int64_t ahead_step = t.ahead_step, a_stride = t.a_stride;
  const auto prefetch = [&](int64_t bytes) {
    for (; bytes > 0; bytes -= 64) {
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) {
        __builtin_prefetch(ahead[p], 0, 2);
        ahead[p] += ahead_step;
      }
    }
  };
  const float* a = t.a;
  int64_t k = 0, offset = 0, chain = 0;  // offset: bytes of the panels before k
  bool add = t.add;
  do {  // once per chain
    const int64_t end = t.chain > 0 && t.chain < t.k - k ? k + t.chain : t.k;
    for (; k + C::kUnroll <= end; k += C::kUnroll) {
#pragma GCC unroll 4
      for (int line = 0; line < kIterationBytes / 64; line++) prefetch(64);
#pragma GCC unroll 4
      for (int i = 0; i < C::kUnroll; i += C::kStep)
        multiply_step<R, P, W>(sum, a + k + i, a_stride, w, offset + i / C::kStep * C::kBytes);
      offset += kIterationBytes;
    }
    for (; k < end; k += C::kStep) {  // the last step may reach past K, where the codes are zero
      multiply_step<R, P, W>(sum, a + k, a_stride, w, offset);
      offset += C::kBytes;
    }
    finish_chain<R, P, W>(sum, t, chain++, add);
    if constexpr (std::is_same_v<W, q8> || std::is_same_v<W, q4>) {
      const int64_t bytes = 2 * kPanelColumns * static_cast<int64_t>(dtype_bytes(t.scale_dtype));
      prefetch(bytes);
      offset += bytes;
    }
    add = true;
  } while (k < t.k);
}

}  // namespace

template <class W>
void run_tile(const Tile& t, int rows, int panels) {
  choose_tile<panels_per_pass, kTileRows>(rows, panels, [&]<int R, int P>() { tile<R, P, W>(t); });
}
template void run_tile<float>(const Tile&, int, int);
template void run_tile<bf16>(const Tile&, int, int);
template void run_tile<f8e4m3>(const Tile&, int, int);
template void run_tile<q8>(const Tile&, int, int);
template void run_tile<q4>(const Tile&, int, int);
template void run_tile<WideCodes>(const Tile&, int, int);

template <class W>
void widen_codes(const std::byte* w, const GroupScales& groups, int64_t count, std::byte* out) {
  using C = Code<W>;
  for (int64_t k = 0; k < count; k += C::kStep) {
    each_of_step<W>([&]<int I>() __attribute__((always_inline)) {
      store16(reinterpret_cast<float*>(out) + (k + I) * kPanelColumns, C::template weights<I>(w));
    });
    w += C::kBytes;
    if ((k + C::kStep) % groups.group == 0) w += 2 * kPanelColumns * static_cast<int64_t>(dtype_bytes(groups.dtype));
  }
}
template void widen_codes<q8>(const std::byte*, const GroupScales&, int64_t, std::byte*);
template void widen_codes<q4>(const std::byte*, const GroupScales&, int64_t, std::byte*);

}  // namespace caracal::CARACAL_ISA

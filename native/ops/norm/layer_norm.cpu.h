#pragma once
// Layer norm of rows, shared by the CPU implementations of layerNorm and fsmnMemory.
#include "cpu/implement.h"
#include "cpu/reduce.h"
#include "ops/norm/layer_norm.h"

namespace caracal::CARACAL_ISA {

CARACAL_INLINE Mask16 first_lanes(int count) {
  static constexpr float lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load16(lane) < set1(static_cast<float>(count));
}

// A second pass computes the variance about the mean: E[x²] - mean² cancels when the mean is large.
template <class T, class W>
void normalise_row(const T* x, const W* weight, const W* bias, T* y, int64_t n, float eps) {
  F32x16 sum = zero();
  for_columns(n, [&](int64_t i, int count) { sum += load(x + i, count); });
  const F32x16 mean = set1(hsum(sum) / static_cast<float>(n));
  F32x16 squares = zero();
  for_columns(n, [&](int64_t i, int count) {
    const F32x16 d = select(first_lanes(count), load(x + i, count) - mean, zero());
    squares = fma(d, d, squares);
  });
  const F32x16 scale = set1(1.0f / __builtin_sqrtf(hsum(squares) / static_cast<float>(n) + eps));
  for_columns(n, [&](int64_t i, int count) {
    F32x16 v = (load(x + i, count) - mean) * scale * load(weight + i, count);
    if (bias) v += load(bias + i, count);
    store(y + i, v, count);
  });
}

// y [T, C] of x's dtype.
inline void normalise_rows(Cpu& cpu, const LayerNorm& op, std::byte* y) {
  const int64_t n = op.x.shape[-1];
  by_activation_type(op.x.dtype, [&](auto x_type) {
    by_activation_type(op.weight.dtype, [&](auto w_type) {
      using T = typename decltype(x_type)::type;
      using W = typename decltype(w_type)::type;
      const W* bias = op.bias ? op.bias->data<W>() : nullptr;
      for_rows(cpu, op.x.shape.rows(), n, [&](int64_t row) {
        normalise_row(op.x.data<T>() + row * n, op.weight.data<W>(), bias, reinterpret_cast<T*>(y) + row * n, n,
                      static_cast<float>(op.eps));
      });
    });
  });
}

}  // namespace caracal::CARACAL_ISA

#pragma once
// Access to the matrices of a packed weight (core/packed_weight.h) on the CPU.
#include "core/tensor.h"
#include "cpu/gemm_panels.h"

namespace caracal {

// The panels and scales of matrix `e` of a packed weight [N, K] or [E, N, K].
inline Panels panels_of(const Tensor& w, int64_t e = 0) {
  const int64_t n = w.shape[-2], k = w.shape[-1], matrices = w.shape.rank() == 3 ? w.shape[0] : 1;
  const size_t bytes = panels_bytes(n, k, w.dtype, w.scales);
  Panels p{w.dtype, w.data<std::byte>() + bytes * size_t(e), n, k, nullptr, w.scales};
  if (w.dtype == DType::f8e4m3)
    p.scales = reinterpret_cast<const float*>(w.data<std::byte>() + bytes * size_t(matrices)) + e * scale_count(n, k);
  return p;
}

}  // namespace caracal

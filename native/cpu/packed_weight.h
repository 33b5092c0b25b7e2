#pragma once
// Where the parts of a packed weight lie in its storage: the panels of every matrix, then every matrix's f8e4m3 block
// scales.
#include "core/tensor.h"
#include "cpu/gemm_panels.h"

namespace caracal {

inline int64_t scale_count(int64_t n, int64_t k) {
  return (n + kScaleBlock - 1) / kScaleBlock * ((k + kScaleBlock - 1) / kScaleBlock);
}

inline size_t packed_bytes(int64_t matrices, int64_t n, int64_t k, DType dtype) {
  const size_t panels = panels_bytes(n, k, dtype) * size_t(matrices);
  return panels + (dtype == DType::f8e4m3 ? size_t(matrices * scale_count(n, k)) * sizeof(float) : 0);
}

// Matrix `e` of a packed weight [N, K] or [E, N, K].
inline Panels panels_of(const Tensor& w, int64_t e = 0) {
  const int64_t n = w.shape[-2], k = w.shape[-1], matrices = w.shape.rank() == 3 ? w.shape[0] : 1;
  const size_t bytes = panels_bytes(n, k, w.dtype);
  Panels p{w.dtype, w.data<std::byte>() + bytes * size_t(e), n, k, nullptr};
  if (w.dtype == DType::f8e4m3)
    p.scales = reinterpret_cast<const float*>(w.data<std::byte>() + bytes * size_t(matrices)) + e * scale_count(n, k);
  return p;
}

}  // namespace caracal

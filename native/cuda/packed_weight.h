#pragma once
// A packed weight on the GPU is its matrices row by row, one after the other, and then, of f8e4m3, every matrix's block
// scales, from the next multiple of 16 bytes on. The storage has the CPU's size (cpu/packed_weight.h), which is never
// less: its panels pad N to 16.
#include "cpu/packed_weight.h"

namespace caracal::cuda {

inline size_t scales_offset(int64_t matrices, int64_t n, int64_t k, DType dtype) {
  return (static_cast<size_t>(matrices * n * k) * dtype_bytes(dtype) + 15) / 16 * 16;
}

struct WeightMatrix {
  const std::byte* data;
  const float* scales;  // null but for f8e4m3: [ceil(N / 128)][ceil(K / 128)]
};

// Matrix `e` of a weight [N, K] or [E, N, K], packed or plain.
inline WeightMatrix weight_matrix(const Tensor& w, int64_t e = 0) {
  const int64_t n = w.shape[-2], k = w.shape[-1], matrices = w.shape.rank() == 3 ? w.shape[0] : 1;
  const std::byte* data = w.data<std::byte>();
  const float* scales =
      w.dtype == DType::f8e4m3
          ? reinterpret_cast<const float*>(data + scales_offset(matrices, n, k, w.dtype)) + e * scale_count(n, k)
          : nullptr;
  return {data + static_cast<size_t>(e * n * k) * dtype_bytes(w.dtype), scales};
}

}  // namespace caracal::cuda

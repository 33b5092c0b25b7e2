#pragma once
// The layout of packed weights on the GPU: the matrices, each in row-major order, followed, for f8e4m3, by the block
// scales of every matrix, which start at a multiple of 16 bytes. The storage's padding (core/packed_weight.h) is unused.
#include "core/packed_weight.h"
#include "core/tensor.h"

namespace caracal::cuda {

inline size_t scales_offset(int64_t matrices, int64_t n, int64_t k, DType dtype) {
  return round_up(static_cast<size_t>(matrices * n * k) * dtype_bytes(dtype), size_t{16});
}

struct WeightMatrix {
  const std::byte* data;
  const float* scales;  // f8e4m3: [ceil(N / 128)][ceil(K / 128)]; otherwise null
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

#pragma once
// The layout of packed weights on the GPU: the matrices, each in row-major order, followed by the scales of every matrix,
// which start at a multiple of 16 bytes. The storage's padding (core/packed_weight.h) is unused.
//   f8e4m3   scales: f32 [ceil(N / 128)][ceil(K / 128)]
//   q4, q8   scales: pairs of a scale and a bias, of their own dtype, [K / group][N rounded up to 16]; padding is 0
//
// Tensor cores want pairs of neighbouring codes, which one mask cuts out of a word if they lie 16 bits apart. So a row of
// codes is a sequence of blocks of 32 elements, whose element 8 t + i is stored
//   q4   in word t of four: in its nibble i / 2 if i is even, in nibble i / 2 + 4 if it is odd
//   q8   in word t of eight for i < 4, in word t + 4 for the others: in byte i % 4 / 2, or two bytes above if i is odd.
//        Its top bit is inverted: codes less 128, in two's complement
#include "core/packed_weight.h"
#include "core/tensor.h"
#include "cuda/gemm/gemm.kernels.h"

namespace caracal::cuda {

inline size_t matrix_bytes(int64_t n, int64_t k, DType dtype) {
  return is_affine(dtype) ? static_cast<size_t>(n) * code_bytes(k, dtype)
                          : static_cast<size_t>(n * k) * dtype_bytes(dtype);
}

inline size_t scales_offset(int64_t matrices, int64_t n, int64_t k, DType dtype) {
  return round_up(static_cast<size_t>(matrices) * matrix_bytes(n, k, dtype), size_t{16});
}

inline GroupPairs group_pairs(int64_t n, const GroupScales& s) {
  return {.columns = round_up(n, kPanelColumns),
          .group_bits = s.group == 32   ? 5
                        : s.group == 64 ? 6
                                        : 7,
          .type = s.dtype == DType::f32    ? ScaleType::f32
                  : s.dtype == DType::bf16 ? ScaleType::bf16
                                           : ScaleType::f16};
}

// The bytes of a matrix's scales.
inline size_t matrix_scale_bytes(int64_t n, int64_t k, DType dtype, const GroupScales& s) {
  if (is_affine(dtype)) return static_cast<size_t>(group_pairs(n, s).group_bytes() * (k / s.group));
  return dtype == DType::f8e4m3 ? static_cast<size_t>(scale_count(n, k)) * sizeof(float) : 0;
}

struct WeightMatrix {
  const std::byte* data;
  const void* scales;  // null unless the dtype has them
};

// The first matrix of a weight [N, K] or [E, N, K], packed or plain.
inline WeightMatrix weight_matrix(const Tensor& w) {
  const int64_t n = w.shape[-2], k = w.shape[-1], matrices = w.shape.rank() == 3 ? w.shape[0] : 1;
  const std::byte* data = w.data<std::byte>();
  const bool scaled = w.dtype == DType::f8e4m3 || is_affine(w.dtype);
  return {data, scaled ? data + scales_offset(matrices, n, k, w.dtype) : nullptr};
}

}  // namespace caracal::cuda

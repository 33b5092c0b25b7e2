#pragma once
// Fills in the operands of a product and launches its kernel.
#include "core/check.h"
#include "cuda/gemm/gemm.kernels.h"
#include "cuda/gemm/tiles.h"
#include "cuda/implement.h"
#include "cuda/packed_weight.h"

namespace caracal::cuda {

inline ColumnVector column_vector(const std::optional<Tensor>& t) { return {address(t), t && t->dtype == DType::bf16}; }

// `m` rows of x by weights [N, K], or by the first matrices of weights [E, N, K].
inline GemmOperands gemm_operands(const Tensor& x, std::initializer_list<const Tensor*> weights, int64_t m) {
  const Tensor& first = **weights.begin();
  const int64_t n = first.shape[-2], k = first.shape[-1];
  GemmOperands p{address(x),
                 {},
                 {},
                 m,
                 n,
                 k,
                 vectorizable(k, {address(x)}, first.dtype == DType::f8e4m3 ? 16 : 8),
                 group_pairs(n, first.scales)};
  int g = 0;
  for (const Tensor* w : weights) {
    const WeightMatrix matrix = weight_matrix(*w);
    p.w[g] = matrix.data;
    p.scales[g++] = matrix.scales;
    p.aligned = p.aligned && vectorizable(0, {matrix.data});
  }
  return p;
}

// Launches the entry whose tile and dtypes suit the product. Entries are called <kernel>_<tile>_<x>_<w>.
template <class Epilogue>
void launch_gemm(Cuda& cuda, const Kernel<GemmOperands, Epilogue>& kernel, const GemmOperands& p, DType x, DType w,
                 int groups, const Epilogue& epilogue) {
  if (p.m == 0 || p.n == 0) return;
  const int sms = cuda.gpu.sms;
  const GemmTile tile =
      uses_tensor_cores(x, w) ? tensor_tile(p.m, p.n, groups, w, sms) : simt_tile(p.m, p.n, groups, sms);
  cuda.launch(entry_of(kernel, tile.name, x, w),
              {{unsigned(tile_count(tile, p.m, p.n))}, tile.threads, tile.shared_bytes}, p, epilogue);
}

}  // namespace caracal::cuda

#pragma once
// Which kernel makes a product and how many blocks of it.
#include "core/check.h"
#include "cuda/gemm/gemm.kernels.h"
#include "cuda/gemm/tiles.h"
#include "cuda/implement.h"
#include "cuda/packed_weight.h"

namespace caracal::cuda {

inline ColumnVector column_vector(const std::optional<Tensor>& t) { return {address(t), t && t->dtype == DType::bf16}; }

inline GemmOperands gemm_operands(const Tensor& x, std::initializer_list<const Tensor*> weights, int64_t m) {
  const Tensor& first = **weights.begin();
  GemmOperands p{address(x),
                 {},
                 {},
                 m,
                 first.shape[0],
                 first.shape[1],
                 first.shape[1] % (first.dtype == DType::f8e4m3 ? 16 : 8) == 0 && vectors(0, {address(x)})};
  int g = 0;
  for (const Tensor* w : weights) {
    const WeightMatrix matrix = weight_matrix(*w);
    p.w[g] = matrix.data;
    p.scales[g++] = matrix.scales;
    p.aligned = p.aligned && vectors(0, {matrix.data});
  }
  return p;
}

// Launches the entry of the tile and dtypes that suit the product. Entries are called <kernel>_<tile>_<x>_<w>.
template <class Epilogue>
void launch_gemm(Cuda& cuda, const Kernel<GemmOperands, Epilogue>& kernel, const GemmOperands& p, DType x, DType w,
                 int groups, const Epilogue& epilogue) {
  if (p.m == 0 || p.n == 0) return;
  const bool tensor = x == DType::bf16 && w != DType::f32;
  const GemmTile tile =
      tensor ? tensor_tile(p.m, p.n, groups, w, cuda.gpu.sms) : simt_tile(p.m, p.n, groups, cuda.gpu.sms);
  cuda.launch(entry_of(kernel, tile.name, x, w),
              {{unsigned(tile_count(tile, p.m, p.n))}, tile.threads, tile.shared_bytes}, p, epilogue);
}

}  // namespace caracal::cuda

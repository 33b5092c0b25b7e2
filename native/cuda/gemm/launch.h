#pragma once
// Which kernel makes a product and how many blocks of it.
#include "core/check.h"
#include "cuda/gemm/parameters.h"
#include "cuda/implement.h"
#include "cuda/packed_weight.h"

namespace caracal::cuda {

// A kernel's tile of the output. `columns` are of each weight's product.
struct GemmTile {
  const char* name;
  int64_t rows, columns;
  unsigned threads;
  size_t shared_bytes = 0;
};

inline constexpr GemmTile kSimtTiles[2][2] = {{{"simt_small", 16, 32, 128}, {"simt_large", 128, 128, 256}},
                                              {{"simt_small", 16, 16, 128}, {"simt_large", 128, 64, 256}}};

inline int64_t tile_count(const GemmTile& t, int64_t m, int64_t n) {
  return (m + t.rows - 1) / t.rows * ((n + t.columns - 1) / t.columns);
}

// The large tile reads least; a small one where there are few rows, or too few large ones for all multiprocessors.
// Every tile sums in the same order: the choice changes no bits.
inline const GemmTile& simt_tile(int64_t m, int64_t n, int groups, int sms) {
  const auto& [small, large] = kSimtTiles[groups - 1];
  return m <= small.rows || tile_count(large, m, n) * 2 < sms ? small : large;
}

inline ColumnVector column_vector(const std::optional<Tensor>& t) { return {address(t), t && t->dtype == DType::bf16}; }

inline GemmOperands gemm_operands(const Tensor& x, std::initializer_list<const Tensor*> weights, int64_t m) {
  const Tensor& first = **weights.begin();
  GemmOperands p{address(x), {}, {}, m, first.shape[0], first.shape[1], vectors(first.shape[1], {address(x)})};
  int g = 0;
  for (const Tensor* w : weights) {
    const WeightMatrix matrix = weight_matrix(*w);
    p.w[g] = matrix.data;
    p.scales[g++] = matrix.scales;
    p.aligned = p.aligned && vectors(0, {matrix.data});
  }
  return p;
}

template <class Epilogue>
void launch_gemm(Cuda& cuda, const char* family, const char* name, const GemmOperands& p, DType x, DType w, int groups,
                 const Epilogue& epilogue) {
  if (p.m == 0 || p.n == 0) return;
  const GemmTile& tile = simt_tile(p.m, p.n, groups, cuda.gpu.sms);
  cuda.launch({family, kernel_name((std::string(name) + "_" + tile.name).c_str(), x, w)},
              {unsigned(tile_count(tile, p.m, p.n))}, tile.threads, tile.shared_bytes, p, epilogue);
}

}  // namespace caracal::cuda

#pragma once
// Products of rows that stand anywhere with rows of W_kvb, in exact f32 (gemm/simt.cuh).
#include "cuda/gemm/simt.cuh"
#include "ops/attention/mla.kernels.h"

namespace caracal {

// x(i) is the i-th row, null for none; w(i) the number of the i-th row of W_kvb, negative for none. store(r, c, sum)
// takes what rows r and c make.
template <class Tile, class X, class W, class XRow, class WRow, class Store>
__device__ inline void simt_rows_product(const MlaWeight& weight, int depth, XRow x, WRow w, Store store) {
  __shared__ SimtTiles<1, Tile> tiles;
  __shared__ const X* rows[Tile::kTileM];
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kTileM; i += Tile::kThreads) rows[i] = x(i);
  __syncthreads();
  const int scale_columns = (depth + kScaleBlock - 1) / kScaleBlock;
  auto x_at = [&](int r, long long k) { return rows[r] && k < depth ? rows[r] + k : nullptr; };
  auto w_at = [&](int r, long long k) {
    const long long n = w(r);
    return n >= 0 && k < depth ? static_cast<const W*>(weight.data) + n * depth + k : nullptr;
  };
  auto scale = [&](int r, long long k) {
    if constexpr (sizeof(W) > 1) return 1.0f;
    return weight.scales[w(r) / kScaleBlock * scale_columns + k / kScaleBlock];
  };
  SimtSums<1, Tile> sums = {};
  simt_main_loop<1, Tile, X, W>(tiles, x_at, w_at, scale, 0, depth, weight.aligned, [](long long) {}, sums);
  const SimtPlace<Tile> place;
#pragma unroll
  for (int i = 0; i < Tile::kRowsM; i++)
#pragma unroll
    for (int j = 0; j < Tile::kRowsN; j++)
      store(place.tm + i * Tile::kThreadsM, place.tn + j * Tile::kThreadsN, sums[0][i][j]);
}

}  // namespace caracal

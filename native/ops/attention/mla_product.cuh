#pragma once
// Products of scattered rows with rows of W_kvb in exact f32 (gemm/simt.cuh).
#include "cuda/device/index.cuh"
#include "cuda/gemm/simt.cuh"
#include "ops/attention/mla.kernels.h"

namespace caracal {

// One tile. x(i) is the address of row i, null for a row of zeros; w(i) is the number of a row of W_kvb, negative for a
// row of zeros. store(r, c, sum) takes the product of rows x(r) and w(c).
template <class Tile, class X, class W, class XRow, class WRow, class Store>
__device__ inline void simt_rows_product(const MlaWeight& weight, int depth, XRow x, WRow w, Store store) {
  __shared__ SimtTiles<1, Tile> tiles;
  __shared__ const X* rows[Tile::kTileM];
  for (int i = thread_index(); i < Tile::kTileM; i += Tile::kThreads) rows[i] = x(i);
  __syncthreads();
  const int scale_columns = divide_up(depth, kScaleBlock);
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
  const SimtThread<Tile> thread;
#pragma unroll
  for (int i = 0; i < Tile::kRowsM; i++)
#pragma unroll
    for (int j = 0; j < Tile::kRowsN; j++)
      store(thread.row + i * Tile::kThreadsM, thread.column + j * Tile::kThreadsN, sums[0][i][j]);
}

}  // namespace caracal

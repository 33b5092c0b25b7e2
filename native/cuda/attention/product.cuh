#pragma once
// Products of rows that stand anywhere with rows of W_kvb, in exact f32 (gemm/simt.cuh).
#include "cuda/gemm/simt.cuh"
#include "ops/attention/mla_parameters.h"

namespace caracal {

// x(i) is the i-th row, null for none; w(i) the number of the i-th row of W_kvb, negative for none. store(r, c, sum)
// takes what rows r and c make.
template <class Tile, class X, class W, class XRow, class WRow, class Store>
__device__ inline void simt_rows_product(const MlaWeight& weight, int depth, XRow x_row, WRow w_row, bool aligned,
                                         Store store) {
  __shared__ __align__(16) float xs[Tile::kTileM * kSimtStride];
  __shared__ __align__(16) float ws[Tile::kTileN * kSimtStride];
  const int tn = static_cast<int>(threadIdx.x) % Tile::kThreadsN, tm = static_cast<int>(threadIdx.x) / Tile::kThreadsN;
  const int scale_columns = (depth + kScaleBlock - 1) / kScaleBlock;
  SimtFetch<X, Tile::kTileM, Tile::kThreads> x;
  SimtFetch<W, Tile::kTileN, Tile::kThreads> w;
  auto row = [&](int r) {
    const long long n = w_row(r);
    return n < 0 ? nullptr : static_cast<const W*>(weight.data) + n * depth;
  };
  auto start = [&](int k) {
    x.start(x_row, [](int) { return 1.0f; }, k, depth, aligned);
    w.start(
        row,
        [&](int r) {
          if constexpr (sizeof(W) > 1) return 1.0f;
          return weight.scales[w_row(r) / kScaleBlock * scale_columns + k / kScaleBlock];
        },
        k, depth, weight.aligned);
  };
  float sums[1][Tile::kRowsM][Tile::kRowsN] = {};
  start(0);
  for (int k = 0; k < depth; k += kSimtTileK) {
    __syncthreads();  // whoever multiplies the tiles before
    x.finish(xs);
    w.finish(ws);
    __syncthreads();
    if (k + kSimtTileK < depth) start(k + kSimtTileK);
    simt_multiply<1, Tile>(xs, ws, tm, tn, sums);
  }
#pragma unroll
  for (int i = 0; i < Tile::kRowsM; i++)
#pragma unroll
    for (int j = 0; j < Tile::kRowsN; j++) store(tm + i * Tile::kThreadsM, tn + j * Tile::kThreadsN, sums[0][i][j]);
}

}  // namespace caracal

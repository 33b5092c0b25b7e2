#pragma once
// The product on tensor cores for weights of every dtype.
#include "cuda/gemm/tensor.cuh"
#include "cuda/gemm/tensor_codes.cuh"

namespace caracal {

// The sums of the tile at `at`. x_row and w_row return the rows of the tile, scale(g, block of k) the scale of an f8e4m3
// weight's columns.
template <int G, class Tile, class W, class XRow, class WRow, class Scale>
__device__ inline void tensor_product(uint8_t* ring, const GemmOperands& p, XRow x_row, WRow w_row, Scale scale,
                                      TilePosition at, int warp_m, int warp_n, TensorSums<G, Tile>& sums) {
  const TensorLoadX<Tile, W> x(x_row, p.x);
  if constexpr (kIsCode<W>)
    tensor_code_loop<G, Tile, W>(ring, p, x, w_row, at.column, warp_m, warp_n, sums, p.m - at.row);
  else
    tensor_main_loop<G, Tile, W>(ring, p, x, w_row, scale, warp_m, warp_n, sums, p.m - at.row);
}

// One tile of the output per block of Tile::kThreads threads, for G weights.
template <int G, class Tile, class W, class Epilogue>
__device__ inline void tensor_gemm(const GemmOperands& p, const Epilogue& epilogue) {
  extern __shared__ __align__(128) uint8_t ring[];
  const TilePosition at = tile_position<Tile::kTileM, Tile::kTileN>(p.m, p.n);
  const int warp = warp_index();
  const int warp_m = warp / Tile::kWarpsN * Tile::kWarpM, warp_n = warp % Tile::kWarpsN * Tile::kWarpN;
  auto x_row = [&](int r) -> const bf16* {
    return at.row + r < p.m ? static_cast<const bf16*>(p.x) + (at.row + r) * p.k : nullptr;
  };
  auto w_row = [&](int r) -> const W* {
    const long long column = at.column + r % Tile::kTileN;
    return column < p.n ? element<W>(p.w[r / Tile::kTileN], column, p.k, 0) : nullptr;
  };
  auto scale = [&](int g, long long block) {
    return static_cast<const float*>(p.scales[g])[at.column / kScaleBlock * divide_up(p.k, kScaleBlock) + block];
  };
  TensorSums<G, Tile> sums = {};
  tensor_product<G, Tile, W>(ring, p, x_row, w_row, scale, at, warp_m, warp_n, sums);
  tensor_store<G, Tile>(reinterpret_cast<float*>(ring), p, epilogue, at, warp_m, warp_n, sums);
}

}  // namespace caracal

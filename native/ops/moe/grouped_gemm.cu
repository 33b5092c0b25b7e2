// One product per expert: 2 R K N FLOP for R rows in all (4 R K N with the two weights of the gated half); reads the
// weights of every expert that has rows once. At the model's sizes an expert's matrix of 2048 x 6144 has 25 MB of bf16,
// so this is memory-bound up to about 300 rows per expert and the weights must be read only once: the tiles of an expert
// are computed next to each other, and up to sixteen rows fit into one tile.
#include "cuda/gemm/tiles.cuh"
#include "ops/moe/group_tiles.cuh"

namespace caracal {

// For G weights. Blocks take tiles until there are none left.
template <int G, class Tile, class W, class Epilogue>
__device__ inline void tensor_grouped(const GroupedOperands& p, const Epilogue& epilogue, Fault* fault) {
  extern __shared__ __align__(128) uint8_t ring[];
  __shared__ GroupTile<bf16, Tile::kTileM> tile;
  const int warp = warp_index();
  const int warp_m = warp / Tile::kWarpsN * Tile::kWarpM, warp_n = warp % Tile::kWarpsN * Tile::kWarpN;
  auto x_row = [&](int r) { return tile.rows[r]; };
  auto w_row = [&](int r) -> const W* {
    const long long column = tile.at.column + r % Tile::kTileN;
    return column < p.gemm.n ? element<W>(tile.gemm.w[r / Tile::kTileN], column, p.gemm.k, 0) : nullptr;
  };
  auto scale = [&](int g, long long block) {
    const long long first = tile.at.column / kScaleBlock * divide_up(p.gemm.k, kScaleBlock);
    return static_cast<const float*>(tile.gemm.scales[g])[first + block];
  };
  GroupTiles<G, Tile, bf16, W> tiles(p, tile, fault);
  for (long long i = blockIdx.x; tiles.move_to(i); i += gridDim.x) {
    TensorSums<G, Tile> sums = {};
    tensor_product<G, Tile, W>(ring, tile.gemm, x_row, w_row, scale, tile.at, warp_m, warp_n, sums);
    tensor_store<G, Tile>(reinterpret_cast<float*>(ring), tile.gemm, epilogue, tile.at, warp_m, warp_n, sums);
  }
}

template <int G, class Tile, class X, class W, class Epilogue>
__device__ inline void simt_grouped(const GroupedOperands& p, const Epilogue& epilogue, Fault* fault) {
  __shared__ SimtTiles<G, Tile> staged;
  __shared__ GroupTile<X, Tile::kTileM> tile;
  auto x_at = [&](int r, long long k) -> const X* {
    const X* row = tile.rows[r];
    return row && k < p.gemm.k ? row + k : nullptr;
  };
  auto w_at = [&](int r, long long k) -> const W* {
    const long long column = tile.at.column + r % Tile::kTileN;
    const bool in_bounds = column < p.gemm.n && k < p.gemm.k;
    return in_bounds ? element<W>(tile.gemm.w[r / Tile::kTileN], column, p.gemm.k, k) : nullptr;
  };
  auto scale = [&](int r, long long k) {
    return simt_scale<W>(tile.gemm, r / Tile::kTileN, tile.at.column + r % Tile::kTileN, k);
  };
  GroupTiles<G, Tile, X, W> tiles(p, tile, fault);
  for (long long i = blockIdx.x; tiles.move_to(i); i += gridDim.x) {
    SimtSums<G, Tile> sums = {};
    simt_main_loop<G, Tile, X, W>(staged, x_at, w_at, scale, 0, tile.gemm.k, p.gemm.aligned, [](long long) {}, sums);
    simt_store<G, Tile>(tile.gemm, epilogue, tile.at, sums);
  }
}

template <int G, class Tile, class X, class W, class Epilogue>
__device__ inline void grouped(const GroupedOperands& p, const Epilogue& epilogue, Fault* fault) {
  if constexpr (Tile::kTensorCores)
    tensor_grouped<G, Tile, W>(p, epilogue, fault);
  else
    simt_grouped<G, Tile, X, W>(p, epilogue, fault);
}

#define CARACAL_GROUPED(X, W, Tile, tile)                                                                             \
  CARACAL_KERNEL(kGroupedGemm, grouped_gemm_##tile##_##X##_##W, __launch_bounds__(Tile<1>::kThreads, 1),              \
                 const __grid_constant__ GroupedOperands p, const __grid_constant__ LinearEpilogue e, Fault* fault) { \
    grouped<1, Tile<1>, X, W>(p, e, fault);                                                                           \
  }                                                                                                                   \
  CARACAL_KERNEL(kGroupedSwiglu, grouped_swiglu_##tile##_##X##_##W, __launch_bounds__(Tile<2>::kThreads, 1),          \
                 const __grid_constant__ GroupedOperands p, const __grid_constant__ SwigluEpilogue e, Fault* fault) { \
    grouped<2, Tile<2>, X, W>(p, e, fault);                                                                           \
  }
CARACAL_GEMM_ENTRIES(CARACAL_GROUPED)
#undef CARACAL_GROUPED

}  // namespace caracal

// At the model's sizes (K x N of the matrices of a layer: 6144 x 12288, 12288 x 6144, 6144 x 1536, ...): 2 M K N
// FLOP; bytes at least 4 or 2 (1 of f8e4m3) K N for the weights, 2 M K for x and 2 M N for the output. So memory-bound
// up to about a hundred rows: the weights must be read once, and are where one tile holds all rows.
#include "cuda/gemm/tiles.cuh"

namespace caracal {

#define CARACAL_LINEAR(X, W, Tile, tile)                                                                            \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads)                                                      \
      linear_##tile##_##X##_##W(const __grid_constant__ GemmOperands p, const __grid_constant__ LinearEpilogue e) { \
    simt_gemm<1, Tile, X, W>(p, e);                                                                                 \
  }
#define CARACAL_LINEAR_TILES(X, W)               \
  CARACAL_LINEAR(X, W, SimtSmall<1>, simt_small) \
  CARACAL_LINEAR(X, W, SimtLarge<1>, simt_large)
CARACAL_LINEAR_TILES(f32, f32)
CARACAL_LINEAR_TILES(f32, bf16)
CARACAL_LINEAR_TILES(f32, f8e4m3)
CARACAL_LINEAR_TILES(bf16, f32)
#undef CARACAL_LINEAR_TILES
#undef CARACAL_LINEAR

#define CARACAL_LINEAR(W, Tile, tile)                                                                              \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads, 1)                                                  \
      linear_##tile##_bf16_##W(const __grid_constant__ GemmOperands p, const __grid_constant__ LinearEpilogue e) { \
    tensor_gemm<1, Tile, W>(p, e);                                                                                 \
  }
#define CARACAL_LINEAR_TILES(W)                     \
  CARACAL_LINEAR(W, TensorSmall<1>, tensor_small)   \
  CARACAL_LINEAR(W, TensorMedium<1>, tensor_medium) \
  CARACAL_LINEAR(W, TensorLarge<1>, tensor_large)
CARACAL_LINEAR_TILES(bf16)
CARACAL_LINEAR_TILES(f8e4m3)
#undef CARACAL_LINEAR_TILES
#undef CARACAL_LINEAR

}  // namespace caracal

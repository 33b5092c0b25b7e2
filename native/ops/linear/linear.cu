// At the model's sizes (K x N of the matrices of a layer: 6144 x 12288, 12288 x 6144, 6144 x 1536, ...): 2 M K N
// FLOP; bytes at least 4 or 2 (1 of f8e4m3) K N for the weights, 2 M K for x and 2 M N for the output. So memory-bound
// up to about a hundred rows: the weights must be read once, and are where one tile holds all rows.
#include "cuda/gemm/simt.cuh"
#include "cuda/gemm/tensor.cuh"

namespace caracal {

using SimtSmall = SimtTile<16, 32, 2, 2>;    // decoding: many blocks, so that all of the memory is kept busy
using SimtLarge = SimtTile<128, 128, 8, 8>;  // as many products per byte of shared memory as registers allow

#define CARACAL_LINEAR(X, W, Tile, tile)                                                                            \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads)                                                      \
      linear_##tile##_##X##_##W(const __grid_constant__ GemmOperands p, const __grid_constant__ LinearEpilogue e) { \
    simt_gemm<1, Tile, X, W>(p, e);                                                                                 \
  }
#define CARACAL_LINEAR_TILES(X, W)            \
  CARACAL_LINEAR(X, W, SimtSmall, simt_small) \
  CARACAL_LINEAR(X, W, SimtLarge, simt_large)
CARACAL_LINEAR_TILES(f32, f32)
CARACAL_LINEAR_TILES(f32, bf16)
CARACAL_LINEAR_TILES(f32, f8e4m3)
CARACAL_LINEAR_TILES(bf16, f32)
#undef CARACAL_LINEAR_TILES
#undef CARACAL_LINEAR

// The host knows them from cuda/gemm/tiles.h.
using TensorSmall = TensorTile<16, 32, 1, 4, 8>;
using TensorMedium = TensorTile<64, 64, 2, 2, 4>;
using TensorLarge = TensorTile<128, 128, 2, 4, 3>;

#define CARACAL_LINEAR(W, Tile, tile)                                                                              \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads, 1)                                                  \
      linear_##tile##_bf16_##W(const __grid_constant__ GemmOperands p, const __grid_constant__ LinearEpilogue e) { \
    tensor_gemm<1, Tile, W>(p, e);                                                                                 \
  }
#define CARACAL_LINEAR_TILES(W)                  \
  CARACAL_LINEAR(W, TensorSmall, tensor_small)   \
  CARACAL_LINEAR(W, TensorMedium, tensor_medium) \
  CARACAL_LINEAR(W, TensorLarge, tensor_large)
CARACAL_LINEAR_TILES(bf16)
CARACAL_LINEAR_TILES(f8e4m3)
#undef CARACAL_LINEAR_TILES
#undef CARACAL_LINEAR

}  // namespace caracal

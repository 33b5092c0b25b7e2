// Both products at once: x is read once for the two, and neither sum ever leaves the registers. 4 M K N FLOP; the bytes
// of two weights, of x and of one output.
#include "cuda/gemm/tiles.cuh"

namespace caracal {

#define CARACAL_SWIGLU(X, W, Tile, tile)                                                                            \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads)                                                      \
      swiglu_##tile##_##X##_##W(const __grid_constant__ GemmOperands p, const __grid_constant__ SwigluEpilogue e) { \
    simt_gemm<2, Tile, X, W>(p, e);                                                                                 \
  }
#define CARACAL_SWIGLU_TILES(X, W)               \
  CARACAL_SWIGLU(X, W, SimtSmall<2>, simt_small) \
  CARACAL_SWIGLU(X, W, SimtLarge<2>, simt_large)
CARACAL_SWIGLU_TILES(f32, f32)
CARACAL_SWIGLU_TILES(f32, bf16)
CARACAL_SWIGLU_TILES(f32, f8e4m3)
CARACAL_SWIGLU_TILES(bf16, f32)
#undef CARACAL_SWIGLU_TILES
#undef CARACAL_SWIGLU

#define CARACAL_SWIGLU(W, Tile, tile)                                                                              \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads, 1)                                                  \
      swiglu_##tile##_bf16_##W(const __grid_constant__ GemmOperands p, const __grid_constant__ SwigluEpilogue e) { \
    tensor_gemm<2, Tile, W>(p, e);                                                                                 \
  }
#define CARACAL_SWIGLU_TILES(W)                     \
  CARACAL_SWIGLU(W, TensorSmall<2>, tensor_small)   \
  CARACAL_SWIGLU(W, TensorMedium<2>, tensor_medium) \
  CARACAL_SWIGLU(W, TensorLarge<2>, tensor_large)
CARACAL_SWIGLU_TILES(bf16)
CARACAL_SWIGLU_TILES(f8e4m3)
#undef CARACAL_SWIGLU_TILES
#undef CARACAL_SWIGLU

}  // namespace caracal

// Both products at once: x is read once for the two, and neither sum ever leaves the registers. 4 M K N FLOP; the bytes
// of two weights, of x and of one output.
#include "cuda/gemm/simt.cuh"
#include "cuda/gemm/tensor.cuh"

namespace caracal {

using SwigluSmall = SimtTile<16, 16, 2, 1>;
using SwigluLarge = SimtTile<128, 64, 8, 4>;

#define CARACAL_SWIGLU(X, W, Tile, tile)                                                                            \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads)                                                      \
      swiglu_##tile##_##X##_##W(const __grid_constant__ GemmOperands p, const __grid_constant__ SwigluEpilogue e) { \
    simt_gemm<2, Tile, X, W>(p, e);                                                                                 \
  }
#define CARACAL_SWIGLU_TILES(X, W)              \
  CARACAL_SWIGLU(X, W, SwigluSmall, simt_small) \
  CARACAL_SWIGLU(X, W, SwigluLarge, simt_large)
CARACAL_SWIGLU_TILES(f32, f32)
CARACAL_SWIGLU_TILES(f32, bf16)
CARACAL_SWIGLU_TILES(f32, f8e4m3)
CARACAL_SWIGLU_TILES(bf16, f32)
#undef CARACAL_SWIGLU_TILES
#undef CARACAL_SWIGLU

using SwigluTensorSmall = TensorTile<16, 32, 1, 4, 6>;
using SwigluTensorMedium = TensorTile<64, 32, 2, 2, 4>;
using SwigluTensorLarge = TensorTile<128, 64, 2, 4, 3>;

#define CARACAL_SWIGLU(W, Tile, tile)                                                                              \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads, 1)                                                  \
      swiglu_##tile##_bf16_##W(const __grid_constant__ GemmOperands p, const __grid_constant__ SwigluEpilogue e) { \
    tensor_gemm<2, Tile, W>(p, e);                                                                                 \
  }
#define CARACAL_SWIGLU_TILES(W)                        \
  CARACAL_SWIGLU(W, SwigluTensorSmall, tensor_small)   \
  CARACAL_SWIGLU(W, SwigluTensorMedium, tensor_medium) \
  CARACAL_SWIGLU(W, SwigluTensorLarge, tensor_large)
CARACAL_SWIGLU_TILES(bf16)
CARACAL_SWIGLU_TILES(f8e4m3)
#undef CARACAL_SWIGLU_TILES
#undef CARACAL_SWIGLU

}  // namespace caracal

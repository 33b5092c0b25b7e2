// Both products at once: x is read once for the two, and neither sum ever leaves the registers. 4 M K N FLOP; the bytes
// of two weights, of x and of one output.
#include "cuda/gemm/tiles.cuh"
#include "ops/linear/swiglu.kernels.h"

namespace caracal {

#define CARACAL_SWIGLU(X, W, Tile, tile)                                                             \
  CARACAL_KERNEL(kSwiglu, swiglu_##tile##_##X##_##W, __launch_bounds__(Tile<2>::kThreads),           \
                 const __grid_constant__ GemmOperands p, const __grid_constant__ SwigluEpilogue e) { \
    simt_gemm<2, Tile<2>, X, W>(p, e);                                                               \
  }
CARACAL_SIMT_ENTRIES(CARACAL_SWIGLU)
#undef CARACAL_SWIGLU

#define CARACAL_SWIGLU(X, W, Tile, tile)                                                             \
  CARACAL_KERNEL(kSwiglu, swiglu_##tile##_##X##_##W, __launch_bounds__(Tile<2>::kThreads, 1),        \
                 const __grid_constant__ GemmOperands p, const __grid_constant__ SwigluEpilogue e) { \
    tensor_gemm<2, Tile<2>, W>(p, e);                                                                \
  }
CARACAL_TENSOR_ENTRIES(CARACAL_SWIGLU)
#undef CARACAL_SWIGLU

}  // namespace caracal

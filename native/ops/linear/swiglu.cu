// Computes both products at once: x is read once for the two, and the sums never leave the registers. 4 M K N FLOP; the
// bytes of two weights, of x and of one output.
#include "cuda/gemm/tiles.cuh"
#include "ops/linear/swiglu.kernels.h"

namespace caracal {

#define CARACAL_SWIGLU(X, W, Tile, tile)                                                                        \
  CARACAL_KERNEL(kSwiglu, swiglu_##tile##_##X##_##W, __launch_bounds__(Tile<2>::kThreads, Tile<2>::kMinBlocks), \
                 const __grid_constant__ GemmOperands p, const __grid_constant__ SwigluEpilogue e) {            \
    gemm<2, Tile<2>, X, W>(p, e);                                                                               \
  }
CARACAL_GEMM_ENTRIES(CARACAL_SWIGLU)
#undef CARACAL_SWIGLU

}  // namespace caracal

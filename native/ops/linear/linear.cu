// At the model's sizes (K x N of a layer's matrices: 6144 x 12288, 12288 x 6144, 6144 x 1536, ...): 2 M K N FLOP; the
// weights are K N elements of 4, 2 or 1 bytes, x and the output at least 2 M K and 2 M N bytes. Memory-bound up to about
// a hundred rows, so the weights must be read only once, as they are when one tile covers all rows.
#include "cuda/gemm/tiles.cuh"
#include "ops/linear/linear.kernels.h"

namespace caracal {

#define CARACAL_LINEAR(X, W, Tile, tile)                                                                        \
  CARACAL_KERNEL(kLinear, linear_##tile##_##X##_##W, __launch_bounds__(Tile<1>::kThreads, Tile<1>::kMinBlocks), \
                 const __grid_constant__ GemmOperands p, const __grid_constant__ LinearEpilogue e) {            \
    gemm<1, Tile<1>, X, W>(p, e);                                                                               \
  }
CARACAL_GEMM_ENTRIES(CARACAL_LINEAR)
#undef CARACAL_LINEAR

}  // namespace caracal

// At the model's sizes (K x N of the matrices of a layer: 6144 x 12288, 12288 x 6144, 6144 x 1536, ...): 2 M K N
// FLOP; bytes at least 4 or 2 (1 of f8e4m3) K N for the weights, 2 M K for x and 2 M N for the output. So memory-bound
// up to about a hundred rows: the weights must be read once, and are where one tile holds all rows.
#include "cuda/gemm/tiles.cuh"
#include "ops/linear/linear.kernels.h"

namespace caracal {

#define CARACAL_LINEAR(X, W, Tile, tile)                                                             \
  CARACAL_KERNEL(kLinear, linear_##tile##_##X##_##W, __launch_bounds__(Tile<1>::kThreads),           \
                 const __grid_constant__ GemmOperands p, const __grid_constant__ LinearEpilogue e) { \
    simt_gemm<1, Tile<1>, X, W>(p, e);                                                               \
  }
CARACAL_SIMT_ENTRIES(CARACAL_LINEAR)
#undef CARACAL_LINEAR

#define CARACAL_LINEAR(X, W, Tile, tile)                                                             \
  CARACAL_KERNEL(kLinear, linear_##tile##_##X##_##W, __launch_bounds__(Tile<1>::kThreads, 1),        \
                 const __grid_constant__ GemmOperands p, const __grid_constant__ LinearEpilogue e) { \
    tensor_gemm<1, Tile<1>, W>(p, e);                                                                \
  }
CARACAL_TENSOR_ENTRIES(CARACAL_LINEAR)
#undef CARACAL_LINEAR

}  // namespace caracal

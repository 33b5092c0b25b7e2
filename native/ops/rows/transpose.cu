// Memory-bound: each element is read once and written once. A tile passes through shared memory, so that both the reads
// and the writes of a warp are consecutive; a row has one element more than the tile, so that a column has no conflicts.
#include "ops/rows/transpose.kernels.h"
#include "ops/rows/units.cuh"

namespace caracal {

template <class U>
__device__ inline void transpose(const U* x, U* y, long long rows, long long columns, long long tiles) {
  __shared__ U tile[kTransposeTile][kTransposeTile + 1];
  const long long top = blockIdx.x / tiles * kTransposeTile, left = blockIdx.x % tiles * kTransposeTile;
  const int lane = lane_index();
  for (int i = warp_index(); i < kTransposeTile; i += kTransposeThreads / kWarp)
    if (top + i < rows && left + lane < columns) tile[i][lane] = x[(top + i) * columns + left + lane];
  __syncthreads();
  for (int i = warp_index(); i < kTransposeTile; i += kTransposeThreads / kWarp)
    if (left + i < columns && top + lane < rows) y[(left + i) * rows + top + lane] = tile[lane][i];
}

#define CARACAL_TRANSPOSE(U)                                                                                          \
  CARACAL_KERNEL(kTranspose, transpose_##U, , const U* x, U* y, long long rows, long long columns, long long tiles) { \
    transpose(x, y, rows, columns, tiles);                                                                            \
  }
CARACAL_TRANSPOSE(b4)
CARACAL_TRANSPOSE(b2)
CARACAL_TRANSPOSE(b1)
#undef CARACAL_TRANSPOSE

}  // namespace caracal

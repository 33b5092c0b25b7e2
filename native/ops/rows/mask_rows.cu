// Memory-bound: what is kept is read once, and everything is written once. blockIdx.y is the sequence.
#include "ops/rows/lanes.cuh"
#include "ops/rows/mask_rows.kernels.h"

namespace caracal {

template <class U>
__device__ inline void mask_rows(const U* x, U* y, long long units, long long kept) {
  const long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
  if (i >= units) return;
  const long long at = blockIdx.y * units + i;
  y[at] = i < kept ? x[at] : U{};
}

#define CARACAL_MASK_ROWS(U)                                                    \
  CARACAL_KERNEL(kMaskRows, mask_rows_##U, , const U* x, U* y, long long units, \
                 const __grid_constant__ MaskLengths lengths) {                 \
    mask_rows(x, y, units, lengths.kept[blockIdx.y]);                           \
  }
CARACAL_MASK_ROWS(b16)
CARACAL_MASK_ROWS(b4)
CARACAL_MASK_ROWS(b2)
CARACAL_MASK_ROWS(b1)
#undef CARACAL_MASK_ROWS

}  // namespace caracal

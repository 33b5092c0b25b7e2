// Memory-bound: the rows within a length are read once, and every row is written once.
#include "ops/rows/mask_rows.kernels.h"
#include "ops/rows/units.cuh"

namespace caracal {

template <class U>
__device__ inline void mask_rows(const U* x, U* y, long long units, long long length) {
  const long long i = grid_thread_index();
  if (i >= units) return;
  const long long at = blockIdx.y * units + i;
  y[at] = i < length ? x[at] : U{};
}

#define CARACAL_MASK_ROWS(U)                                                    \
  CARACAL_KERNEL(kMaskRows, mask_rows_##U, , const U* x, U* y, long long units, \
                 const __grid_constant__ MaskLengths lengths) {                 \
    mask_rows(x, y, units, lengths.units[blockIdx.y]);                          \
  }
CARACAL_MASK_ROWS(b16)
CARACAL_MASK_ROWS(b4)
CARACAL_MASK_ROWS(b2)
CARACAL_MASK_ROWS(b1)
#undef CARACAL_MASK_ROWS

}  // namespace caracal

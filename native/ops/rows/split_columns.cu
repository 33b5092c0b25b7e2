// Memory-bound: each element is read once and written once. Each piece has a launch of its own, which reads only its
// columns.
#include "ops/rows/split_columns.kernels.h"
#include "ops/rows/units.cuh"

namespace caracal {

template <class U>
__device__ inline void copy_columns(const U* x, U* y, long long rows, long long units, long long pitch, int shift) {
  const RowLane lane(shift);
  if (lane.row >= rows) return;
  for (long long i = lane.first; i < units; i += lane.step) y[lane.row * units + i] = x[lane.row * pitch + i];
}

#define CARACAL_COPY_COLUMNS(U)                                                                                        \
  CARACAL_KERNEL(kCopyColumns, copy_columns_##U, , const U* x, U* y, long long rows, long long units, long long pitch, \
                 int shift) {                                                                                          \
    copy_columns(x, y, rows, units, pitch, shift);                                                                     \
  }
CARACAL_COPY_COLUMNS(b16)
CARACAL_COPY_COLUMNS(b4)
CARACAL_COPY_COLUMNS(b2)
CARACAL_COPY_COLUMNS(b1)
#undef CARACAL_COPY_COLUMNS

}  // namespace caracal

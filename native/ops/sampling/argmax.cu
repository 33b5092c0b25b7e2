// One warp per row picks the largest of the best candidates of the row's parts (candidates.cu).
#include "ops/sampling/argmax.kernels.h"
#include "ops/sampling/candidates.cuh"

namespace caracal {

static_assert(kArgmaxRows * kWarp == kArgmaxThreads, "the host counts one warp per row");

CARACAL_KERNEL(kArgmax, argmax, , const u64* best, long long rows, int parts, int* ids) {
  const long long row = grid_thread_index() / kWarp;
  if (row >= rows) return;
  const int lane = lane_index();
  u64 top = 0;
  for (int i = lane; i < parts; i += kWarp) {
    const u64 candidate = best[row * parts + i];
    top = candidate > top ? candidate : top;
  }
  top = warp_max(top);
  if (lane == 0) ids[row] = id_of(top);
}

}  // namespace caracal

// A warp to each row finds the best of its parts' candidates (candidates.cu).
#include "ops/sampling/argmax.kernels.h"
#include "ops/sampling/candidates.cuh"

namespace caracal {

CARACAL_KERNEL(kArgmax, argmax, , const u64* best, long long rows, int parts, int* ids) {
  const long long row = (blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x) / kWarp;
  if (row >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  u64 top = 0;
  for (int i = lane; i < parts; i += kWarp) {
    const u64 c = best[row * parts + i];
    top = c > top ? c : top;
  }
  top = warp_max(top);
  if (lane == 0) ids[row] = id_of(top);
}

}  // namespace caracal

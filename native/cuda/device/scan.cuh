#pragma once
#include "cuda/device/reduce.cuh"

namespace caracal {

// The sum of v over this thread and the threads before it, in a block of whole warps. `total` is set to the sum over all
// threads. All threads must call it. Consecutive calls need no barrier in between.
__device__ inline int block_inclusive_sum(int v, int& total) {
  __shared__ int parts[kMaxBlockWarps];
  const int lane = lane_index(), warp = warp_index(), warps = warp_count();
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const int before = __shfl_up_sync(kAllLanes, v, step);
    if (lane >= step) v += before;
  }
  __syncthreads();  // wait until all threads have read `parts` from the previous call
  if (lane == kWarp - 1) parts[warp] = v;
  __syncthreads();
  total = 0;
  for (int i = 0; i < warps; i++) {
    if (i < warp) v += parts[i];
    total += parts[i];
  }
  return v;
}

}  // namespace caracal

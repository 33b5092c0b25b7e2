#pragma once
#include "cuda/device/reduce.cuh"

namespace caracal {

// The sum of v over this thread and those before it in the block. Every thread calls it, of whole warps, and `total`
// gets the sum of all.
__device__ inline int block_inclusive_sum(int v, int& total) {
  __shared__ int parts[kMostWarps];
  const int lane = lane_index(), warp = warp_index(), warps = warp_count();
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const int before = __shfl_up_sync(kAllLanes, v, step);
    if (lane >= step) v += before;
  }
  __syncthreads();  // whoever reads `parts` of the call before
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

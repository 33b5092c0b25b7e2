#pragma once
// Sums over a warp and over a block, in a fixed order, so that all threads get the same bits.
#include "cuda/device/index.cuh"

namespace caracal {

__device__ inline float warp_sum(float v) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) v += __shfl_xor_sync(kAllLanes, v, step);
  return v;
}

// The sum of v over a block of whole warps. All threads must call it. Consecutive calls need no barrier in between.
__device__ inline float block_sum(float v) {
  __shared__ float parts[kMaxBlockWarps];
  const int warps = warp_count();
  v = warp_sum(v);
  if (warps == 1) return v;
  __syncthreads();  // wait until all threads have read `parts` from the previous call
  if (lane_index() == 0) parts[threadIdx.x / kWarp] = v;
  __syncthreads();
  v = 0;
  for (int i = 0; i < warps; i++) v += parts[i];
  return v;
}

// Computes with one warp what block_sum returns in a block of `threads` <= 32 * Warps threads. part(thread) returns the
// value of a thread of that block; lane thread % 32 calls it.
template <int Warps, class Part>
__device__ inline float block_sum_in_warp(int threads, Part part) {
  const int lane = lane_index();
  float parts[Warps];
#pragma unroll
  for (int i = 0; i < Warps; i++) parts[i] = i * kWarp < threads ? part(i * kWarp + lane) : 0;
#pragma unroll
  for (int i = 0; i < Warps; i++)
    if (i * kWarp < threads) parts[i] = warp_sum(parts[i]);
  if (threads == kWarp) return parts[0];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < Warps; i++)
    if (i * kWarp < threads) sum += parts[i];
  return sum;
}

}  // namespace caracal

#pragma once
// Sums over a warp and over a block, in one fixed order: every thread gets the same bits.
#include "cuda/device/index.cuh"

namespace caracal {

__device__ inline float warp_sum(float v) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) v += __shfl_xor_sync(kAllLanes, v, step);
  return v;
}

// Every thread of the block calls it, and it may be called again at once. The block has whole warps.
__device__ inline float block_sum(float v) {
  __shared__ float parts[kMostWarps];
  const int warps = warp_count();
  v = warp_sum(v);
  if (warps == 1) return v;
  __syncthreads();  // whoever reads `parts` of the call before
  if (lane_index() == 0) parts[threadIdx.x / kWarp] = v;
  __syncthreads();
  v = 0;
  for (int i = 0; i < warps; i++) v += parts[i];
  return v;
}

// What block_sum would give a block of `threads`, no more than 32 Warps, made by one warp: part(thread) is what each of
// them adds, and is asked of lane thread mod 32.
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

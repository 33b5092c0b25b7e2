#pragma once
// Logits as integers that rank them, walks along a row of them, and sums of 64-bit integers.
#include <cstdint>

#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/sampling/candidates.kernels.h"

namespace caracal {

using u64 = unsigned long long;

// A candidate is a logit and its id in one key: the larger logit has the larger key, and of equal logits the lower id.
// NaN ranks as -infinity, -0 as 0.
__device__ inline u64 candidate_of(float logit, long long id) {
  const uint32_t bits = __float_as_uint(logit == logit ? logit + 0.0f : -INFINITY);
  const uint32_t ordered = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
  return u64{ordered} << 32 | ~static_cast<uint32_t>(id);
}
__device__ inline int id_of(u64 candidate) { return static_cast<int>(~static_cast<uint32_t>(candidate)); }
__device__ inline float logit_of(u64 candidate) {
  const uint32_t ordered = static_cast<uint32_t>(candidate >> 32);
  return __uint_as_float(ordered ^ (ordered >> 31 ? 0x80000000u : 0xffffffffu));
}

// Calls fn(logit, id) for the allowed ids in [from, to), which `threads` threads share. `from` is a multiple of V.
template <int V, class T, class Fn>
__device__ inline void for_candidates(const T* __restrict__ row, const AllowedIds& allowed, long long from,
                                      long long to, int thread, int threads, Fn fn) {
  constexpr int kUnroll = V < 8 ? 2 : 1;
#pragma unroll kUnroll
  for (long long i = from + thread * V; i < to; i += threads * V) {
    float v[V];
    load<V>(row + i, v);
    const uint32_t mask = allowed.mask(i, V);
#pragma unroll
    for (int j = 0; j < V; j++)
      if (mask >> j & 1) fn(v[j], i + j);
  }
}

__device__ inline u64 warp_max(u64 v) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const u64 other = __shfl_xor_sync(kAllLanes, v, step);
    v = other > v ? other : v;
  }
  return v;
}

__device__ inline u64 warp_sum(u64 v) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) v += __shfl_xor_sync(kAllLanes, v, step);
  return v;
}

// The sum of v over this lane and the lanes before it.
__device__ inline u64 warp_inclusive_sum(u64 v) {
  const int lane = lane_index();
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const u64 before = __shfl_up_sync(kAllLanes, v, step);
    if (lane >= step) v += before;
  }
  return v;
}

// The sum of v over the threads of the block before this one; `total` receives the sum over all. Every thread calls it.
__device__ inline u64 block_exclusive_sum(u64 v, u64& total) {
  __shared__ u64 warp_totals[kMaxBlockWarps];
  const int warp = warp_index(), warps = warp_count();
  u64 sum = warp_inclusive_sum(v);
  __syncthreads();  // wait until all threads have read the totals of the previous call
  if (threadIdx.x % kWarp == kWarp - 1) warp_totals[warp] = sum;
  __syncthreads();
  total = 0;
  for (int i = 0; i < warps; i++) {
    if (i < warp) sum += warp_totals[i];
    total += warp_totals[i];
  }
  return sum - v;
}

}  // namespace caracal

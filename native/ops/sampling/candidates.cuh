#pragma once
// Logits as integers that rank them, and how threads walk along a row of them.
#include <cstdint>

#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "ops/sampling/candidates.kernels.h"

namespace caracal {

using u64 = unsigned long long;

// The larger logit has the larger key, and of equal ones the lower id. NaN ranks as -infinity, -0 as 0.
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

// fn(logit, id) for the allowed ids in [from, to) that are thread `me`'s, of `threads`. `from` is a multiple of V.
template <int V, class T, class Fn>
__device__ inline void for_candidates(const T* __restrict__ row, const AllowedIds& allowed, long long from,
                                      long long to, int me, int threads, Fn fn) {
  constexpr int kAtOnce = V < 8 ? 2 : 1;  // accesses
#pragma unroll kAtOnce
  for (long long i = from + me * V; i < to; i += threads * V) {
    float v[V];
    load<V>(row + i, v);
    const uint32_t may = allowed.of(i, V);
#pragma unroll
    for (int j = 0; j < V; j++)
      if (may >> j & 1) fn(v[j], i + j);
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

// The sum of v over this lane and those before it.
__device__ inline u64 warp_sum_to(u64 v) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const u64 before = __shfl_up_sync(kAllLanes, v, step);
    if (lane >= step) v += before;
  }
  return v;
}

// The sum of v over the threads before this one in the block; `total` gets that of all. Every thread calls it.
__device__ inline u64 block_sum_before(u64 v, u64& total) {
  __shared__ u64 in_warp[kMostWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  u64 sum = warp_sum_to(v);
  __syncthreads();  // whoever reads `in_warp` of the call before
  if (threadIdx.x % kWarp == kWarp - 1) in_warp[warp] = sum;
  __syncthreads();
  total = 0;
  for (int i = 0; i < warps; i++) {
    if (i < warp) sum += in_warp[i];
    total += in_warp[i];
  }
  return sum - v;
}

}  // namespace caracal

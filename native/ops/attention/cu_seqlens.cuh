#pragma once
// The checks of cu_seqlens.h on the GPU.
#include "cuda/device/index.cuh"
#include "ops/attention/faults.kernels.h"
#include "ops/attention/flash.kernels.h"

namespace caracal {

// The check that element i fails, or -1.
__device__ inline int start_fault(const PackedRows& p, int i) {
  if (i == 0 && p.cu_seqlens[0] != 0) return kBadFirstStart;
  if (i > 0 && p.cu_seqlens[i] < p.cu_seqlens[i - 1]) return kBadStartOrder;
  return i == p.sequences && p.cu_seqlens[i] != p.rows ? kBadLastStart : -1;
}

// Raises the first fault. Called by one whole warp.
__device__ inline void raise_start_fault(const PackedRows& p) {
  const int lane = lane_index();
  for (int base = 0; base <= p.sequences; base += kWarp) {
    const int i = base + lane, check = i <= p.sequences ? start_fault(p, i) : -1;
    const unsigned bad = __ballot_sync(kAllLanes, check >= 0);
    if (bad == 0) continue;
    if (lane == __ffs(static_cast<int>(bad)) - 1)
      raise(p.fault, check, i,
            static_cast<long long>(i > 0 ? p.cu_seqlens[i - 1] : 0) << 32 | static_cast<uint32_t>(p.cu_seqlens[i]));
    return;
  }
}

// Returns true if cuSeqlens is valid; otherwise the first block raises the fault. Called by every thread of the block.
// Every block checks all elements, since sequences that overlap would make two blocks write the same row.
__device__ inline bool check_cu_seqlens(const PackedRows& p) {
  bool valid = true;
  for (int i = thread_index(); i <= p.sequences; i += thread_count()) valid = valid && start_fault(p, i) < 0;
  if (__syncthreads_and(valid)) return true;
  if (blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0 && threadIdx.x < kWarp) raise_start_fault(p);
  return false;
}

}  // namespace caracal

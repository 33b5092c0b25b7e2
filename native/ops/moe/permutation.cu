// A stable counting sort of the picks by expert. At 8192 tokens of 12 picks it reads 0.4 MB of ids and writes as much
// of slots and of tokens: nothing next to the GEMMs, so what counts is how long the chain of dependent steps is.
//
// The picks are cut into chunks, a warp for each, which counts its picks of every expert ([chunk][expert]). A scan of
// the counters gives each chunk its first row of every expert, and it hands its rows out in the order of its picks.
// Few picks are one block's, counters in shared memory; of many every chunk is a block's, between whose two passes
// another kernel scans.
#include "cuda/device/scan.cuh"
#include "cuda/fault.h"
#include "ops/moe/picks.h"

namespace caracal {

// The expert of a pick, or -1: one without a row, or past the end.
__device__ inline int routed_expert(const Picks& p, int i, int last) {
  const int id = i < last ? p.ids[i] : -1;
  return id >= 0 && id < p.experts ? id : -1;
}

__device__ inline void check_picks(const Picks& p, int first, int last, Fault* fault) {
  for (int i = first + static_cast<int>(threadIdx.x) % kWarp; i < last; i += kWarp)
    if (p.ids[i] < -1 || p.ids[i] >= p.known) raise(fault, 0, i, p.ids[i]);
}

// Adds the picks of a warp's chunk to its counters.
__device__ inline void count_picks(const Picks& p, int first, int last, int* counters) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int i = first; i < last; i += kWarp) {
    const int expert = routed_expert(p, i + lane, last);
    const uint32_t same = __match_any_sync(kAllLanes, expert);
    if (expert >= 0 && lane == __ffs(same) - 1) counters[expert] += __popc(same);
    __syncwarp();
  }
}

// By a block. The counters become the chunks' first rows.
__device__ inline void scan_counters(int* counters, int chunks, int experts, int* offsets) {
  int base = 0;
  for (int e0 = 0; e0 < experts; e0 += static_cast<int>(blockDim.x)) {
    const int e = e0 + static_cast<int>(threadIdx.x);
    int count = 0, total = 0;
    int* const column = counters + e;
    constexpr int kAtOnce = 8;  // loads on their way
    if (e < experts) {
#pragma unroll kAtOnce
      for (int c = 0; c < chunks; c++) count += column[static_cast<size_t>(c) * experts];
    }
    int row = base + block_inclusive_sum(count, total) - count;
    base += total;
    if (e >= experts) continue;
    offsets[e] = row;
    for (int c0 = 0; c0 < chunks; c0 += kAtOnce) {
      int counts[kAtOnce];
#pragma unroll
      for (int c = 0; c < kAtOnce; c++) counts[c] = c0 + c < chunks ? column[static_cast<size_t>(c0 + c) * experts] : 0;
#pragma unroll
      for (int c = 0; c < kAtOnce; c++) {
        if (c0 + c < chunks) column[static_cast<size_t>(c0 + c) * experts] = row;
        row += counts[c];
      }
    }
  }
  if (threadIdx.x == 0) offsets[experts] = base;
}

// Gives the picks of a warp's chunk their rows.
__device__ inline void scatter_picks(const Picks& p, int first, int last, int* rows, int* token_of, int* slot_of) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int i = first + lane; i - lane < last; i += kWarp) {
    const int expert = routed_expert(p, i, last);
    const uint32_t same = __match_any_sync(kAllLanes, expert);
    const int row = expert >= 0 ? rows[expert] + __popc(same & ((1u << lane) - 1)) : -1;
    __syncwarp();
    if (expert >= 0 && lane == __ffs(same) - 1) rows[expert] = row + __popc(same);
    __syncwarp();
    if (row >= 0) token_of[row] = static_cast<int>(static_cast<uint32_t>(i) / static_cast<uint32_t>(p.per_token));
    if (i < last) slot_of[i] = row;
  }
}

// The warps beyond the chunks help with the scan.
extern "C" __global__ void __launch_bounds__(1024)
    permutation_block(const __grid_constant__ Picks p, int chunk, int chunks, int* offsets, int* token_of, int* slot_of,
                      Fault* fault) {
  extern __shared__ int shared[];
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x), warp = thread / kWarp;
  const int first = min(warp * chunk, p.count), last = min(first + chunk, p.count);
  int* counters = shared + warp * p.experts;
  for (int i = thread; i < chunks * p.experts; i += threads) shared[i] = 0;
  check_picks(p, first, last, fault);
  __syncthreads();
  count_picks(p, first, last, counters);
  __syncthreads();
  scan_counters(shared, chunks, p.experts, offsets);
  __syncthreads();
  scatter_picks(p, first, last, counters, token_of, slot_of);
  for (int row = offsets[p.experts] + thread; row < p.count; row += threads) token_of[row] = -1;
}

// A warp per block. `shared_counters`: they have room in shared memory, from where they are copied.
extern "C" __global__ void permutation_count(const __grid_constant__ Picks p, int chunk, int* all_counters,
                                             bool shared_counters, Fault* fault) {
  extern __shared__ int shared[];
  int* to = all_counters + size_t{blockIdx.x} * p.experts;
  int* counters = shared_counters ? shared : to;
  const int lane = static_cast<int>(threadIdx.x);
  const int first = static_cast<int>(blockIdx.x) * chunk, last = min(first + chunk, p.count);
  for (int e = lane; e < p.experts; e += kWarp) counters[e] = 0;
  check_picks(p, first, last, fault);
  __syncwarp();
  count_picks(p, first, last, counters);
  if (shared_counters)
    for (int e = lane; e < p.experts; e += kWarp) to[e] = shared[e];
}

// One block.
extern "C" __global__ void __launch_bounds__(1024)
    permutation_scan(int* counters, int chunks, int experts, int* offsets) {
  scan_counters(counters, chunks, experts, offsets);
}

extern "C" __global__ void permutation_scatter(const __grid_constant__ Picks p, int chunk, int* all_rows,
                                               bool shared_rows, const int* offsets, int* token_of, int* slot_of) {
  extern __shared__ int shared[];
  int* from = all_rows + size_t{blockIdx.x} * p.experts;
  int* rows = shared_rows ? shared : from;
  const int lane = static_cast<int>(threadIdx.x);
  const int first = static_cast<int>(blockIdx.x) * chunk, last = min(first + chunk, p.count);
  if (shared_rows)
    for (int e = lane; e < p.experts; e += kWarp) shared[e] = from[e];
  __syncwarp();
  scatter_picks(p, first, last, rows, token_of, slot_of);
  for (int row = first + lane; row < last; row += kWarp)
    if (row >= offsets[p.experts]) token_of[row] = -1;
}

}  // namespace caracal

// A stable counting sort of the picks by expert. At 4096 tokens of 12 picks it reads 0.2 MB of ids and writes as much
// of slots and of tokens, those where the sort puts them, 4 bytes to a sector: nothing next to the GEMMs, so what counts
// is how long the chain of dependent steps is.
//
// The picks are cut into chunks, a warp for each, which counts its picks of every expert in shared memory. A scan of the
// counters gives each chunk its first row of every expert, and it hands its rows out in the order of its picks. Few
// picks are one block's, in one launch. Of many every block has some chunks, and a launch before leaves how many picks
// each has of every expert (2 KB a block of 3072, for 512): a block sums those of all for itself.
#include "cuda/device/scan.cuh"
#include "cuda/fault.h"
#include "ops/moe/permutation.kernels.h"

namespace caracal {

// The expert of a pick, or -1: one without a row, or past the end.
__device__ inline int routed_expert(const Picks& p, int i, int last) {
  const int id = i < last ? p.ids[i] : -1;
  return id >= 0 && id < p.experts ? id : -1;
}

// The picks of chunk `i` of all.
struct Chunk {
  int first, last;
  __device__ Chunk(const Picks& p, long long i, int chunk)
      : first(static_cast<int>(min(i * chunk, static_cast<long long>(p.count)))),
        last(static_cast<int>(min((i + 1) * chunk, static_cast<long long>(p.count)))) {}
};

__device__ inline void check_pick(const Picks& p, int i, Fault* fault) {
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

// The picks of every expert: of a block's chunks, of the blocks before, and of all.
struct ExpertCounts {
  const int* counters;  // [chunks][experts], of the block
  int chunks, experts;
  const int* totals;  // [blocks][experts], null where the block is alone

  __device__ int of(int e, int& before) const {
    int all = 0;
    if (totals == nullptr) {
      for (int c = 0; c < chunks; c++) all += counters[static_cast<size_t>(c) * experts + e];
      return all;
    }
#pragma unroll 8
    for (unsigned b = 0; b < gridDim.x; b++) {
      const int count = totals[size_t{b} * experts + e];
      if (b < blockIdx.x) before += count;
      all += count;
    }
    return all;
  }
};

// By a block, whose counters become its chunks' first rows. Returns how many rows there are.
__device__ inline int scan_counters(int* counters, int chunks, int experts, const int* totals, int* offsets) {
  const ExpertCounts counts{counters, chunks, experts, totals};
  int rows = 0;
  for (int e0 = 0; e0 < experts; e0 += static_cast<int>(blockDim.x)) {
    const int e = e0 + static_cast<int>(threadIdx.x);
    int before = 0, here = 0;
    const int all = e < experts ? counts.of(e, before) : 0;
    const int first = rows + block_inclusive_sum(all, here) - all;
    rows += here;
    if (e >= experts) continue;
    if (blockIdx.x == 0) offsets[e] = first;
    int row = first + before;
    for (int c = 0; c < chunks; c++) {
      int& counter = counters[static_cast<size_t>(c) * experts + e];
      const int count = counter;
      counter = row;
      row += count;
    }
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) offsets[experts] = rows;
  return rows;
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

// How many picks of every expert each block of `permutation` has: totals[block][expert].
CARACAL_KERNEL(kPermutationCount, permutation_count, , const __grid_constant__ Picks p, int chunk, int chunks,
               int* totals, Fault* fault) {
  extern __shared__ int shared[];
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const Chunk block(p, blockIdx.x, chunk * chunks);
  for (int e = thread; e < p.experts; e += threads) shared[e] = 0;
  __syncthreads();
  for (int i = block.first + thread; i < block.last; i += threads) {
    check_pick(p, i, fault);
    const int expert = routed_expert(p, i, block.last);
    if (expert >= 0) atomicAdd(&shared[expert], 1);
  }
  __syncthreads();
  for (int e = thread; e < p.experts; e += threads) totals[size_t{blockIdx.x} * p.experts + e] = shared[e];
}

// The warps beyond the chunks help with the scan. `far`: the counters where shared memory has no room for them.
CARACAL_KERNEL(kPermutation, permutation, __launch_bounds__(1024, 1), const __grid_constant__ Picks p, int chunk,
               int chunks, int* far, const int* totals, int* offsets, int* token_of, int* slot_of, Fault* fault) {
  extern __shared__ int shared[];
  int* const counters = far ? far : shared;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x), warp = thread / kWarp;
  const Chunk own(p, warp < chunks ? blockIdx.x * static_cast<long long>(chunks) + warp : p.count, chunk);
  int* const mine = counters + static_cast<size_t>(warp) * p.experts;
  for (int i = thread; i < chunks * p.experts; i += threads) counters[i] = 0;
  if (totals == nullptr)
    for (int i = own.first + thread % kWarp; i < own.last; i += kWarp) check_pick(p, i, fault);
  __syncthreads();
  count_picks(p, own.first, own.last, mine);
  __syncthreads();
  const int rows = scan_counters(counters, chunks, p.experts, totals, offsets);
  __syncthreads();
  scatter_picks(p, own.first, own.last, mine, token_of, slot_of);
  const int step = threads * static_cast<int>(gridDim.x);
  for (int row = rows + static_cast<int>(blockIdx.x) * threads + thread; row < p.count; row += step) token_of[row] = -1;
}

}  // namespace caracal

// A stable counting sort of the picks by expert. For 4096 tokens of 12 picks it reads 0.2 MB of ids and writes the same
// amount for slots and for tokens; token writes are scattered (4 useful bytes per 32-byte sector). That is negligible
// next to the GEMMs, so the length of the chain of dependent steps is what counts.
//
// The picks are cut into chunks. A warp counts the picks of its chunk per expert, in shared memory. A scan of the
// counters gives each chunk its first row of every expert, and the chunk assigns its rows in the order of its picks. A
// small number of picks is sorted by one block in one launch. Otherwise each block has several chunks, and a first launch
// counts the picks of every block per expert (2 KB per block of 3072 picks, for 512 experts); each block then adds up
// the counts of all blocks itself.
#include "cuda/device/scan.cuh"
#include "cuda/fault.h"
#include "ops/moe/permutation.kernels.h"

namespace caracal {

// The expert of pick i, or -1 if the pick has no row or lies beyond the chunk's end.
__device__ inline int routed_expert(const Picks& p, int i, int end) {
  const int id = i < end ? p.ids[i] : -1;
  return id >= 0 && id < p.experts ? id : -1;
}

// The picks [begin, end) of chunk number `index`, counted over all blocks.
struct Chunk {
  int begin, end;
  __device__ Chunk(const Picks& p, long long index, int picks)
      : begin(static_cast<int>(min(index * picks, static_cast<long long>(p.count)))),
        end(static_cast<int>(min((index + 1) * picks, static_cast<long long>(p.count)))) {}
};

__device__ inline void check_pick(const Picks& p, int i, Fault* fault) {
  if (p.ids[i] < -1 || p.ids[i] >= p.all_experts) raise(fault, 0, i, p.ids[i]);
}

// Adds the picks of a warp's chunk to the chunk's counters.
__device__ inline void count_picks(const Picks& p, const Chunk& chunk, int* counters) {
  const int lane = lane_index();
  for (int i = chunk.begin; i < chunk.end; i += kWarp) {
    const int expert = routed_expert(p, i + lane, chunk.end);
    const uint32_t same_expert = __match_any_sync(kAllLanes, expert);
    if (expert >= 0 && lane == __ffs(same_expert) - 1) counters[expert] += __popc(same_expert);
    __syncwarp();
  }
}

// The picks per expert.
struct ExpertCounts {
  const int* counters;  // [chunks][experts] of this block
  int chunks, experts;
  const int* totals;  // [blocks][experts], null if there is only this block

  // The picks of expert e in all blocks; The picks in the blocks before this one are added to `before`.
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

// Replaces the counters of a block's chunks by the chunks' first rows. All threads of the block take part. Returns the
// total number of rows.
__device__ inline int scan_counters(int* counters, int chunks, int experts, const int* totals, int* offsets) {
  const ExpertCounts counts{counters, chunks, experts, totals};
  int rows = 0;
  for (int e0 = 0; e0 < experts; e0 += thread_count()) {
    const int e = e0 + thread_index();
    int before = 0, group_rows = 0;
    const int all = e < experts ? counts.of(e, before) : 0;
    const int first = rows + block_inclusive_sum(all, group_rows) - all;
    rows += group_rows;
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

// Assigns rows to the picks of a warp's chunk. `next_rows` holds the chunk's next row of every expert.
__device__ inline void scatter_picks(const Picks& p, const Chunk& chunk, int* next_rows, int* token_of, int* slot_of) {
  const int lane = lane_index();
  for (int i = chunk.begin + lane; i - lane < chunk.end; i += kWarp) {
    const int expert = routed_expert(p, i, chunk.end);
    const uint32_t same_expert = __match_any_sync(kAllLanes, expert);
    const int row = expert >= 0 ? next_rows[expert] + __popc(same_expert & ((1u << lane) - 1)) : -1;
    __syncwarp();
    if (expert >= 0 && lane == __ffs(same_expert) - 1) next_rows[expert] = row + __popc(same_expert);
    __syncwarp();
    if (row >= 0) token_of[row] = static_cast<int>(static_cast<uint32_t>(i) / static_cast<uint32_t>(p.per_token));
    if (i < chunk.end) slot_of[i] = row;
  }
}

// totals[block][expert] = how many picks of each expert the block of the same number in kPermutation has.
CARACAL_KERNEL(kPermutationCount, permutation_count, , const __grid_constant__ Picks p, int chunk_picks, int chunks,
               int* totals, Fault* fault) {
  extern __shared__ int counters[];
  const int thread = thread_index(), threads = thread_count();
  const Chunk block(p, blockIdx.x, chunk_picks * chunks);
  for (int e = thread; e < p.experts; e += threads) counters[e] = 0;
  __syncthreads();
  for (int i = block.begin + thread; i < block.end; i += threads) {
    check_pick(p, i, fault);
    const int expert = routed_expert(p, i, block.end);
    if (expert >= 0) atomicAdd(&counters[expert], 1);
  }
  __syncthreads();
  for (int e = thread; e < p.experts; e += threads) totals[size_t{blockIdx.x} * p.experts + e] = counters[e];
}

// Warps without a chunk help with the scan. `global_counters` replaces shared memory if the counters do not fit there.
CARACAL_KERNEL(kPermutation, permutation, __launch_bounds__(kMaxChunks* kWarp, 1), const __grid_constant__ Picks p,
               int chunk_picks, int chunks, int* global_counters, const int* totals, int* offsets, int* token_of,
               int* slot_of, Fault* fault) {
  extern __shared__ int shared_counters[];
  int* const counters = global_counters ? global_counters : shared_counters;
  const int thread = thread_index(), threads = thread_count(), warp = thread / kWarp;
  const Chunk chunk(p, warp < chunks ? blockIdx.x * static_cast<long long>(chunks) + warp : p.count, chunk_picks);
  int* const chunk_counters = counters + static_cast<size_t>(warp) * p.experts;
  for (int i = thread; i < chunks * p.experts; i += threads) counters[i] = 0;
  if (totals == nullptr)  // else kPermutationCount has checked them
    for (int i = chunk.begin + thread % kWarp; i < chunk.end; i += kWarp) check_pick(p, i, fault);
  __syncthreads();
  count_picks(p, chunk, chunk_counters);
  __syncthreads();
  const int rows = scan_counters(counters, chunks, p.experts, totals, offsets);
  __syncthreads();
  scatter_picks(p, chunk, chunk_counters, token_of, slot_of);
  const int step = threads * static_cast<int>(gridDim.x);
  for (int row = rows + block_x() * threads + thread; row < p.count; row += step) token_of[row] = -1;
}

}  // namespace caracal

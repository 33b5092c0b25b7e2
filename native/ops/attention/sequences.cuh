#pragma once
// Which rows of which sequence a block has. Sequence s has the tiles that begin at starts[s] / Rows + s: that is as many
// as it needs or one more, so that a block finds its own without counting those of all sequences before.
#include "cuda/device/reduce.cuh"
#include "ops/attention/flash.kernels.h"

namespace caracal {

// Queries of one sequence, and the keys that they may see.
struct FlashTile {
  long long row;      // the first of the tile, among those of all sequences
  int rows;           // 0: there is nothing to do
  long long key;      // where the first key stands
  int keys;           // of those that this launch has
  int visible;        // the first query sees the keys before this one; each next query one more if causal
  bool begins, ends;  // no keys came before; none come after
};

// What starts[i] must be and is not, or -1.
__device__ inline int start_fault(const PackedRows& p, int i) {
  if (i == 0 && p.starts[0] != 0) return kFirstStart;
  if (i > 0 && p.starts[i] < p.starts[i - 1]) return kStartOrder;
  return i == p.sequences && p.starts[i] != p.rows ? kLastStart : -1;
}

// Says what is wrong with `starts`, the first of all. One warp calls it.
__device__ inline void raise_start_fault(const PackedRows& p) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int base = 0; base <= p.sequences; base += kWarp) {
    const int i = base + lane, kind = i <= p.sequences ? start_fault(p, i) : -1;
    const unsigned bad = __ballot_sync(kAllLanes, kind >= 0);
    if (bad == 0) continue;
    if (lane == __ffs(static_cast<int>(bad)) - 1)
      raise(p.fault, kind, i,
            static_cast<long long>(i > 0 ? p.starts[i - 1] : 0) << 32 | static_cast<uint32_t>(p.starts[i]));
    return;
  }
}

// Whether sequences follow each other as they must; the first block says what is wrong. Every thread of the block calls
// it. All blocks look at all starts, or else two sequences could have the same row.
__device__ inline bool check_starts(const PackedRows& p) {
  bool sound = true;
  for (int i = static_cast<int>(threadIdx.x); i <= p.sequences; i += static_cast<int>(blockDim.x))
    sound = sound && start_fault(p, i) < 0;
  if (__syncthreads_and(sound)) return true;
  if (blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0 && threadIdx.x < kWarp) raise_start_fault(p);
  return false;
}

// The last sequence whose tiles begin at or before `tile`.
template <int Rows>
__device__ inline int sequence_of(const PackedRows& p, long long tile) {
  int low = 0, high = p.sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (p.starts[middle] / Rows + middle <= tile)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// How many keys a sequence has; none, and it is said, where they are fewer than its queries. Lengths that the block table
// has no room for are somebody else's to report (paged.cuh).
__device__ inline long long keys_of(const FlashParameters& p, int s, int queries) {
  if (!p.chunk.lengths) return queries;
  const int keys = p.chunk.lengths[s];
  if (keys >= 0 && keys < queries && threadIdx.x == 0)
    raise(p.packed.fault, kQueries, s, static_cast<long long>(queries) << 32 | keys);
  return keys >= queries && keys <= p.chunk.most ? keys : 0;
}

// Every thread of the block calls it.
template <int Rows>
__device__ inline FlashTile flash_tile(const FlashParameters& p) {
  FlashTile t{};
  if (!check_starts(p.packed) || p.packed.sequences == 0) return t;
  // The last queries of a causal sequence see most: they go first.
  const int tile = static_cast<int>(p.causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
  const int s = sequence_of<Rows>(p.packed, tile), begin = p.packed.starts[s], end = p.packed.starts[s + 1];
  const int first = (tile - begin / Rows - s) * Rows, rows = min(Rows, end - begin - first);
  if (rows <= 0) return t;
  const long long keys = keys_of(p, s, end - begin), visible = p.causal ? keys - (end - begin) + first + 1 : keys;
  const long long seen = p.causal ? visible + rows - 1 : keys;  // by the last query
  const long long from = p.chunk.lengths ? p.chunk.first : 0, to = p.chunk.lengths ? from + p.chunk.room : keys;
  if (keys == 0 || seen <= from) return t;
  t.row = begin + first;
  t.rows = rows;
  t.key = p.chunk.lengths ? static_cast<long long>(s) * p.chunk.room : begin;
  t.keys = static_cast<int>(min(seen, to) - from);
  t.visible = static_cast<int>(visible - from);
  t.begins = from == 0;
  t.ends = seen <= to;
  return t;
}

}  // namespace caracal

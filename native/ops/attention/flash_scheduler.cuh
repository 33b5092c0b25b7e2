#pragma once
// Assigns tiles of queries to blocks. The tiles of sequence s begin at number cu_seqlens[s] / Rows + s, which reserves
// as many as the sequence needs or one more. So a block finds its sequence without adding up the tiles of previous ones.
#include "ops/attention/cu_seqlens.cuh"

namespace caracal {

// The queries of a block and the keys that they attend to.
struct FlashTile {
  long long row;           // the first query's row of q
  int rows;                // 0 if the block has nothing to do
  long long key;           // the first key's row of k and v
  int keys;                // in this launch
  int visible;             // the first query attends to the keys before it; if causal, each next query to one more
  bool is_first, is_last;  // this launch has the first, and the last, of the keys
};

// The last sequence whose tiles begin at or before `tile`.
template <int Rows>
__device__ inline int sequence_of(const PackedRows& p, long long tile) {
  int low = 0, high = p.sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (p.cu_seqlens[middle] / Rows + middle <= tile)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// The number of keys of sequence s; 0, with a fault, if it is smaller than the number of queries. Lengths beyond the
// block table also give 0; length_of (paged.cuh) raises their fault.
__device__ inline long long keys_of(const FlashParameters& p, int s, int queries) {
  if (!p.chunk.lengths) return queries;
  const int keys = p.chunk.lengths[s];
  if (keys >= 0 && keys < queries && threadIdx.x == 0)
    raise(p.packed.fault, kBadQueryCount, s, static_cast<long long>(queries) << 32 | keys);
  return keys >= queries && keys <= p.chunk.max_keys ? keys : 0;
}

// The tile of the calling block. Called by every thread of the block.
template <int Rows>
__device__ inline FlashTile flash_tile(const FlashParameters& p) {
  FlashTile t{};
  if (!check_cu_seqlens(p.packed) || p.packed.sequences == 0) return t;
  // The last queries of a causal sequence have the most keys: they are scheduled first.
  const int tile = static_cast<int>(p.causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
  const int s = sequence_of<Rows>(p.packed, tile), begin = p.packed.cu_seqlens[s], end = p.packed.cu_seqlens[s + 1];
  const int first = (tile - begin / Rows - s) * Rows, rows = min(Rows, end - begin - first);
  if (rows <= 0) return t;
  const long long keys = keys_of(p, s, end - begin), visible = p.causal ? keys - (end - begin) + first + 1 : keys;
  const long long max_visible = p.causal ? visible + rows - 1 : keys;  // to the last query
  const long long from = p.chunk.lengths ? p.chunk.first : 0, to = p.chunk.lengths ? from + p.chunk.room : keys;
  if (keys == 0 || max_visible <= from) return t;
  t.row = begin + first;
  t.rows = rows;
  t.key = p.chunk.lengths ? static_cast<long long>(s) * p.chunk.room : begin;
  t.keys = static_cast<int>(min(max_visible, to) - from);
  t.visible = static_cast<int>(visible - from);
  t.is_first = from == 0;
  t.is_last = max_visible <= to;
  return t;
}

}  // namespace caracal

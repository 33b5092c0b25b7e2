#pragma once
// Finds the tiles of a grouped product. Only the device knows the offsets, so a fixed number of blocks takes the launch's
// tiles in turn: expert after expert, all tiles of an expert next to each other, so that its weights pass through L2 once.
//
// Tiles are counted in rows of tiles ("tile rows"), each of which has as many tiles as the output has tile columns. An
// expert has tile rows in this launch only if its number of rows suits the launch's tile. The zeros behind the last
// expert's rows count as the tile rows of one more expert.
#include "cuda/device/scan.cuh"
#include "cuda/fault.h"
#include "cuda/gemm/codes.cuh"
#include "cuda/gemm/raster.cuh"
#include "ops/moe/grouped_gemm.kernels.h"

namespace caracal {

constexpr int kWindow = 256;  // experts whose tile rows are counted at once

// A block's current tile; in shared memory to save registers.
template <class X, int TileM>
struct GroupTile {
  GemmOperands gemm;  // the product of the tile's expert, up to its last row; k is 0 behind the last expert
  TilePosition at;
  const X* rows[TileM];        // the addresses of the tile's rows in x; null if a row does not exist
  int tile_row_ends[kWindow];  // inclusive sums of the tile rows of the window's experts
};

// For G weights. All threads of the block call every function.
template <int G, class Tile, class X, class W>
class GroupTiles {
  static constexpr int kTileM = Tile::kTileM, kTileN = Tile::kTileN, kThreadExperts = kWindow / Tile::kThreads;
  static_assert(kWindow % Tile::kThreads == 0, "the threads count the same number of experts each");
  static_assert(sizeof(GroupTile<X, kTileM>) + kMaxBlockWarps * sizeof(int) <= kGroupTileBytes,
                "the host expects less shared memory");

 public:
  __device__ GroupTiles(const GroupedOperands& p, GroupTile<X, kTileM>& tile, Fault* fault)
      : p_(p), tile_(tile), fault_(fault) {
    count_window();
  }

  // Moves to tile number `index` of the launch. Returns false past the last one. Indices must rise.
  __device__ bool move_to(long long index) {
    __syncthreads();  // wait until all threads have finished the previous tile
    const long long tile_columns = divide_up(p_.gemm.n, kTileN), tile_row = index / tile_columns;
    while (tile_row >= tile_rows_before_ + window_tile_rows_) {
      if (window_ + kWindow > p_.experts) return false;
      tile_rows_before_ += window_tile_rows_;
      window_ += kWindow;
      count_window();
    }
    const int in_window = find_expert(static_cast<int>(tile_row - tile_rows_before_)), expert = window_ + in_window;
    const auto [is_zeros, begin, end] = rows_of(expert);
    const int in_window_before = in_window > 0 ? tile_.tile_row_ends[in_window - 1] : 0;
    const long long tiles_before = (tile_rows_before_ + in_window_before) * tile_columns;
    TilePosition at = tile_position<kTileM, kTileN>(end - begin, p_.gemm.n, index - tiles_before);
    at.row += begin;
    find_rows(at.row, is_zeros ? 0 : end);
    if (threadIdx.x == 0) {
      tile_.at = at;
      tile_.gemm = p_.gemm;
      tile_.gemm.m = end;
      if (is_zeros)
        tile_.gemm.k = 0;
      else
        choose_weights(expert);
    }
    __syncthreads();
    return true;
  }

 private:
  // The rows of an expert. Expert number `experts` stands for the zeros behind the last one.
  struct ExpertRows {
    bool is_zeros;
    long long begin, end;
  };
  __device__ ExpertRows rows_of(int expert) const {
    const bool is_zeros = expert == p_.experts;
    return {is_zeros, p_.offsets[expert], is_zeros ? p_.gemm.m : p_.offsets[expert + 1]};
  }

  // Counts the tile rows of the window's experts.
  __device__ void count_window() {
    const int first = thread_index() * kThreadExperts;
    int tile_rows[kThreadExperts], sum = 0;
    bool valid = true;
#pragma unroll
    for (int i = 0; i < kThreadExperts; i++) {
      tile_rows[i] = window_ + first + i <= p_.experts ? count_tile_rows(window_ + first + i, valid) : 0;
      sum += tile_rows[i];
    }
    int end = block_inclusive_sum(sum, window_tile_rows_) - sum;
#pragma unroll
    for (int i = 0; i < kThreadExperts; i++) tile_.tile_row_ends[first + i] = end += tile_rows[i];
    if (!__syncthreads_and(valid)) window_tile_rows_ = 0;  // nothing may be read through invalid offsets
  }

  // The tile rows that this launch computes for an expert. Clears `valid` if the expert's offsets are not.
  __device__ int count_tile_rows(int expert, bool& valid) {
    const auto [is_zeros, begin, end] = rows_of(expert);
    const bool starts_at_zero = expert > 0 || begin == 0, rises = begin <= end && end <= p_.gemm.m;
    if (!starts_at_zero || !rises) {
      valid = false;
      if (blockIdx.x == 0) raise(fault_, kOffsetsFault, starts_at_zero ? expert + 1 : 0, starts_at_zero ? end : begin);
      return 0;
    }
    const long long rows = end - begin;
    const bool in_class = is_zeros ? p_.min_rows == 1 : rows >= p_.min_rows && rows <= p_.max_rows;
    return in_class ? static_cast<int>(divide_up(rows, kTileM)) : 0;
  }

  // The window's expert that has a tile row, by binary search.
  __device__ int find_expert(int tile_row) const {
    int low = 0, high = kWindow - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (tile_row < tile_.tile_row_ends[middle])
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }

  // Sets the addresses in x of the tile's rows from `first` on; rows from `end` on do not exist.
  __device__ void find_rows(long long first, long long end) {
    for (int i = thread_index(); i < kTileM; i += Tile::kThreads) {
      const long long row = first + i, x_row = row < end && p_.gather ? p_.gather[row] : row;
      const bool valid = x_row >= 0 && x_row < p_.x_rows;
      if (row < end && !valid) raise(fault_, kGatherFault, row, x_row);
      tile_.rows[i] = row < end && valid ? static_cast<const X*>(p_.gemm.x) + x_row * p_.gemm.k : nullptr;
    }
  }

  __device__ void choose_weights(int expert) {
#pragma unroll
    for (int g = 0; g < G; g++) {
      tile_.gemm.w[g] = element<W>(p_.gemm.w[g], expert * p_.gemm.n, p_.gemm.k, 0);
      if constexpr (sizeof(W) == 1)
        tile_.gemm.scales[g] = static_cast<const uint8_t*>(p_.gemm.scales[g]) + expert * p_.expert_scale_bytes;
    }
  }

  const GroupedOperands& p_;
  GroupTile<X, kTileM>& tile_;
  Fault* const fault_;
  int window_ = 0, window_tile_rows_ = 0;  // the window's first expert, and the tile rows of its experts
  long long tile_rows_before_ = 0;         // in the previous windows
};

}  // namespace caracal

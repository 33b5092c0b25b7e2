#pragma once
// Which tiles a launch has to make is known on the device alone, by the offsets. Blocks stay, and take the tiles in
// turns: experts one after the other, all tiles of an expert next to each other, so that its weights pass through the L2
// once.
#include "cuda/device/scan.cuh"
#include "cuda/fault.h"
#include "cuda/gemm/raster.cuh"
#include "ops/moe/grouped_gemm.kernels.h"

namespace caracal {

constexpr int kWindow = 256;  // experts whose tiles are counted at once

// What a block knows of the tile that it makes; in shared memory, since registers are few.
template <class X, int TileM>
struct GroupTile {
  GemmOperands gemm;  // the product of the tile's expert, up to its last row; behind the last expert, of no depth
  TilePosition at;
  const X* rows[TileM];  // where the tile's rows are in x; null where there is none
  int ends[kWindow];     // rows of tiles up to each expert's of the window
};

// G weights. Every thread of the block calls what is here.
template <int G, class Tile, class X, class W>
class GroupTiles {
  static constexpr int kTileM = Tile::kTileM, kEach = kWindow / Tile::kThreads;

 public:
  __device__ GroupTiles(const GroupedOperands& p, GroupTile<X, kTileM>& tile, Fault* fault)
      : p_(p), tile_(tile), fault_(fault) {
    count_window();
  }

  // Goes to the tile `index` of those of the launch; false past the last. Indices rise.
  __device__ bool go_to(long long index) {
    __syncthreads();  // everyone is done with the tile before
    const long long across = (p_.gemm.n + Tile::kTileN - 1) / Tile::kTileN, down = index / across;
    while (down >= before_ + total_) {
      if (first_ + kWindow > p_.experts) return false;
      before_ += total_;
      first_ += kWindow;
      count_window();
    }
    const int place = find(static_cast<int>(down - before_)), expert = first_ + place;
    const bool rest = expert == p_.experts;
    const long long first = p_.offsets[expert], last = rest ? p_.gemm.m : p_.offsets[expert + 1];
    const long long tiles_before = (before_ + (place > 0 ? tile_.ends[place - 1] : 0)) * across;
    TilePosition at = tile_position<kTileM, Tile::kTileN>(last - first, p_.gemm.n, index - tiles_before);
    at.row += first;
    find_rows(at.row, rest ? 0 : last);
    if (threadIdx.x == 0) {
      tile_.at = at;
      tile_.gemm = p_.gemm;
      tile_.gemm.m = last;
      if (rest)
        tile_.gemm.k = 0;
      else
        choose_weights(expert);
    }
    __syncthreads();
    return true;
  }

 private:
  __device__ void count_window() {
    const int place = static_cast<int>(threadIdx.x) * kEach;
    int tiles[kEach], sum = 0;
    bool sound = true;
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      tiles[i] = first_ + place + i <= p_.experts ? count_tiles(first_ + place + i, sound) : 0;
      sum += tiles[i];
    }
    int end = block_inclusive_sum(sum, total_) - sum;
#pragma unroll
    for (int i = 0; i < kEach; i++) tile_.ends[place + i] = end += tiles[i];
    if (!__syncthreads_and(sound)) total_ = 0;  // nothing is read through such offsets
  }

  // Rows of tiles that this launch makes of an expert's, or of the rows behind the last one.
  __device__ int count_tiles(int expert, bool& sound) {
    const bool rest = expert == p_.experts;
    const long long first = p_.offsets[expert], last = rest ? p_.gemm.m : p_.offsets[expert + 1];
    const bool starts = expert > 0 || first == 0, rises = first <= last && last <= p_.gemm.m;
    if (!starts || !rises) {
      sound = false;
      if (blockIdx.x == 0) raise(fault_, 0, starts ? expert + 1 : 0, starts ? last : first);
      return 0;
    }
    const long long rows = last - first;
    const bool here = rest ? p_.least == 1 : rows >= p_.least && rows <= p_.most;
    return here ? static_cast<int>((rows + kTileM - 1) / kTileM) : 0;
  }

  // The place in the window of the expert that has a row of tiles.
  __device__ int find(int down) const {
    int low = 0, high = kWindow - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (down < tile_.ends[middle])
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }

  __device__ void find_rows(long long first, long long last) {
    for (int i = static_cast<int>(threadIdx.x); i < kTileM; i += Tile::kThreads) {
      const long long row = first + i, from = row < last && p_.gather ? p_.gather[row] : row;
      const bool sound = from >= 0 && from < p_.x_rows;
      if (row < last && !sound) raise(fault_, 1, row, from);
      tile_.rows[i] = row < last && sound ? static_cast<const X*>(p_.gemm.x) + from * p_.gemm.k : nullptr;
    }
  }

  __device__ void choose_weights(int expert) {
#pragma unroll
    for (int g = 0; g < G; g++) {
      tile_.gemm.w[g] = static_cast<const W*>(p_.gemm.w[g]) + expert * p_.gemm.n * p_.gemm.k;
      if constexpr (sizeof(W) == 1) tile_.gemm.scales[g] = p_.gemm.scales[g] + expert * p_.scales;
    }
  }

  const GroupedOperands& p_;
  GroupTile<X, kTileM>& tile_;
  Fault* const fault_;
  int first_ = 0, total_ = 0;  // the window's first expert and its rows of tiles
  long long before_ = 0;       // those of the windows before
};

}  // namespace caracal

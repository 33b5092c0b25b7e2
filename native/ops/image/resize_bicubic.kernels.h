#pragma once
#include <cstddef>
#include <cstdint>

#include "cuda/kernel.h"

namespace caracal {

// The weights of a pass, which resize_taps computes. Output i is the sum of weights[k][i] * input[first[i] + k].
struct ResizeTables {
  int* first;    // [out]
  int* count;    // [out]
  int* weights;  // [max_taps][out]; 0 from `count` on
  int out, max_taps;
};

// --- the horizontal pass --------------------------------------------------------------------------------------------

inline constexpr int kAcrossThreads = 256, kAcrossWarps = kAcrossThreads / 32;

// A block computes `outputs` neighbouring outputs of rows_per_block rows, a warp for each row.
struct AcrossTiles {
  long long rows;
  int columns, channels;
  int outputs, tiles;  // per block; blocks per row
  int rows_per_block;
  int stage_bytes;  // per warp, for the pixels of a row that the outputs read; a multiple of 16

  // Dynamic shared memory: a stage for each warp, then first, count and weights of the block's outputs.
  constexpr size_t stages_bytes() const { return static_cast<size_t>(kAcrossWarps) * stage_bytes; }
  static constexpr size_t table_bytes(int outputs, int max_taps) { return sizeof(int) * (2 + max_taps) * outputs; }
};

// --- the vertical pass ----------------------------------------------------------------------------------------------

inline constexpr int kDownThreads = 128;
inline constexpr int kDownRows = 4;  // output rows per thread, from one reading of the input rows

// resize_taps: the tables to fill, number of inputs
inline constexpr Kernel<ResizeTables, long long> kResizeTaps{"resize_taps"};
// resize_across, or resize_across_far if the weights of an output do not fit in shared memory: x, y, tables, tiles
inline constexpr Kernel<const uint8_t*, uint8_t*, ResizeTables, AcrossTiles> kResizeAcross{"resize_across"};
// resize_down_b<unit>, a unit being the bytes that a thread moves at once: x, y, tables, bytes per row, strips per row
inline constexpr Kernel<const uint8_t*, uint8_t*, ResizeTables, long long, int> kResizeDown{"resize_down"};

}  // namespace caracal

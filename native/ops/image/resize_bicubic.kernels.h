#pragma once
#include <cstdint>

#include "cuda/kernel.h"

namespace caracal {

// The weights of all outputs of a pass, as resize_taps makes them.
struct ResizeTables {
  int* first;    // [out]
  int* count;    // [out]
  int* weights;  // [most][out]: those of neighbours side by side; 0 from `count` on
  int out, most;
};

// What resize_across is told: a block makes some outputs of some rows, a warp of each row.
struct AcrossTiles {
  long long rows;
  int columns, channels;
  int outputs, tiles;  // to a block; to a row
  int rows_per_block;
  int row_room;  // bytes of shared memory for what the outputs read of a row, a multiple of 16
};

inline constexpr int kDownRows = 4;  // that a thread of resize_down makes at once, of what it reads once

// tables to fill, inputs
inline constexpr Kernel<ResizeTables, long long> kResizeTaps{"resize_taps"};
// resize_across, and resize_across_far for outputs with too many weights for shared memory
inline constexpr Kernel<const uint8_t*, uint8_t*, ResizeTables, AcrossTiles> kResizeAcross{"resize_across"};
// x, y, tables, bytes of a row, strips of a row. resize_down_<bytes that a thread takes at once>
inline constexpr Kernel<const uint8_t*, uint8_t*, ResizeTables, long long, int> kResizeDown{"resize_down"};

}  // namespace caracal

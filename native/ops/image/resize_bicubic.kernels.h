#pragma once

namespace caracal {

// The weights of all outputs of a pass, as resize_taps makes them. Read by kernels and by the host.
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

}  // namespace caracal

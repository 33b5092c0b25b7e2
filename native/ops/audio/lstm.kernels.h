#pragma once
#include "core/math.h"
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

// The recurrent half of the steps of one launch: of one stream, or a step of each of several streams.
struct LstmSteps {
  const float* input;  // [steps, 4, hidden], x · wIh^T + bIh
  const void* w;       // wHh [4, hidden, hidden]
  ColumnVector b_hh;
  float* h[2];        // before even and odd steps; of several streams h[0] is [steps, hidden]
  float* h_end;       // after the last step; of several streams [steps, hidden]
  float* c;           // [hidden], updated in place; of several streams [steps, hidden]
  void* y;            // [steps, hidden]
  unsigned* arrived;  // counts arrivals of blocks at the end of a step, from 0; unused for a single step
  int hidden, steps;
  int units;         // per block
  int cached_units;  // of those, the ones whose rows of w the block caches in shared memory
  bool aligned;      // rows of w start at multiples of 16 bytes and have a multiple of 8 elements
};

// With several steps, all blocks must run at once.
inline constexpr Kernel<LstmSteps> kLstm{"lstm"};                 // lstm_<x>_<w>
inline constexpr Kernel<LstmSteps> kLstmStreams{"lstm_streams"};  // lstm_streams_<x>_<w>
inline constexpr int kLstmMaxThreads = 512;

// A block's shared memory: h, padded to 16 bytes, the sums [4][units], and the cached rows of w.
template <class N>
CARACAL_HOST_DEVICE constexpr N lstm_h_floats(N hidden) {
  return round_up(hidden, 4);
}
template <class N>
CARACAL_HOST_DEVICE constexpr N lstm_sum_floats(N units) {
  return 4 * units;
}

}  // namespace caracal

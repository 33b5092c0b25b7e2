#pragma once
#include "core/math.h"
#include "cuda/kernel.h"
#include "ops/audio/time_rows.h"

namespace caracal {

inline constexpr int kDepthwiseChannels = 64, kDepthwiseThreads = 256;  // of a block

// Elements between two channels' taps in shared memory: odd, so lanes with neighbouring channels use different banks.
template <class N>
CARACAL_HOST_DEVICE constexpr N tap_pitch(N taps) {
  return taps | 1;
}

// A block computes the output rows [blockIdx.x · rows, ...) of `total`.
struct DepthwiseBlock {
  int rows;
  long long total;
  bool staged;  // shared memory holds the input rows that the taps reach
};

}  // namespace caracal

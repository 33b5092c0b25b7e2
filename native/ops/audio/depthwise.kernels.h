#pragma once
#include "cuda/kernel.h"
#include "ops/audio/time_rows.kernels.h"

namespace caracal {

inline constexpr int kDepthwiseChannels = 64, kDepthwiseThreads = 256;

struct DepthwiseBlock {
  int rows;  // of the output, per block: [blockIdx.x · rows, ...) of `total`
  long long total;
  bool stage;  // whether the rows that the taps reach have room in shared memory
};

}  // namespace caracal

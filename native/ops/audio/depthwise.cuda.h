#pragma once
// The host's side of depthwise.cuh.
#include "cuda/implement.h"
#include "ops/audio/depthwise.kernels.h"

namespace caracal::cuda {

struct DepthwiseLaunch {
  Grid grid;
  unsigned threads;
  size_t shared_bytes;
  DepthwiseBlock block;
};

// Shared memory has the weights as f32, then the rows that a block's taps reach, if they have room there too. `span` is
// the taps' reach, the last one's offset less the first one's.
inline DepthwiseLaunch depthwise_launch(const char* op, int64_t rows, int64_t channels, int64_t taps, int64_t stride,
                                        int64_t span, DType dtype, size_t most_shared) {
  constexpr int64_t kChannels = kDepthwiseChannels, kMostRows = 256;
  const size_t weights = static_cast<size_t>(kChannels * (taps | 1)) * sizeof(float);
  if (weights > most_shared)
    throw Error(code::kUnsupported, std::string(op) + ": " + std::to_string(taps) +
                                        " taps are more than a GPU's shared memory has room for; use a CPU device");
  const int64_t here = std::clamp<int64_t>(rows, 1, kMostRows);
  const double staged = (double(here - 1) * double(stride) + double(span) + 1) * kChannels * double(dtype_bytes(dtype));
  const bool stage = double(weights) + staged <= double(most_shared);
  return {{unsigned((rows + here - 1) / here), unsigned((channels + kChannels - 1) / kChannels)},
          kDepthwiseThreads,
          weights + (stage ? static_cast<size_t>(staged) : 0),
          {int(here), static_cast<long long>(rows), stage}};
}

}  // namespace caracal::cuda

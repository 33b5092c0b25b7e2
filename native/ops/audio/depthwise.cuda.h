#pragma once
// How a depthwise convolution is cut into blocks: a pure function of sizes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/dtype.h"
#include "core/error.h"
#include "ops/audio/depthwise.kernels.h"

namespace caracal::cuda {

struct DepthwisePlan {
  unsigned blocks_x, blocks_y;
  size_t shared_bytes;
  DepthwiseBlock block;
};

// Shared memory holds the taps as f32 and, if there is room, the input rows that a block's taps reach. `span` is the
// last tap's offset minus the first one's. Empty if not even the taps fit.
inline std::optional<DepthwisePlan> depthwise_plan(int64_t rows, int64_t channels, int64_t taps, int64_t stride,
                                                   int64_t span, DType dtype, size_t max_shared) {
  constexpr int64_t kMaxRows = 256;
  const size_t tap_bytes = size_t(kDepthwiseChannels * tap_pitch(taps)) * sizeof(float);
  if (tap_bytes > max_shared) return std::nullopt;
  const int64_t block_rows = std::clamp<int64_t>(rows, 1, kMaxRows);
  const double staged_rows = double(block_rows - 1) * double(stride) + double(span) + 1;
  const double staged_bytes = staged_rows * kDepthwiseChannels * double(dtype_bytes(dtype));
  const bool staged = double(tap_bytes) + staged_bytes <= double(max_shared);
  return DepthwisePlan{unsigned(divide_up(rows, block_rows)),
                       unsigned(divide_up(channels, kDepthwiseChannels)),
                       tap_bytes + (staged ? size_t(staged_bytes) : 0),
                       {int(block_rows), rows, staged}};
}

inline Error too_many_taps(const char* op, int64_t taps) {
  return Error(code::kUnsupported, std::string(op) + ": " + std::to_string(taps) +
                                       " taps do not fit into a GPU's shared memory; use a CPU device");
}

}  // namespace caracal::cuda

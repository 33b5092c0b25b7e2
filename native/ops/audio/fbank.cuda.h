#pragma once
// How fbank is cut into blocks: a pure function of sizes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "ops/audio/fbank.kernels.h"

namespace caracal::cuda {

struct FbankPlan {
  unsigned blocks, threads;
  size_t shared_bytes;
  bool staged;  // shared memory has room for the tables
};

// A block transforms several frames in turn, so that it loads the tables once. Empty if a frame does not fit into
// shared memory.
inline std::optional<FbankPlan> fbank_plan(int64_t frames, int64_t half, size_t table_bytes, int sms,
                                           size_t max_shared) {
  constexpr int64_t kBlocksPerSm = 8;
  const size_t value_bytes = size_t(fbank_value_words(fbank_array_words(half))) * sizeof(float);
  if (value_bytes > max_shared) return std::nullopt;
  const bool staged = value_bytes + table_bytes <= max_shared;
  return FbankPlan{unsigned(std::min(frames, kBlocksPerSm * sms)),
                   unsigned(std::clamp<int64_t>(half / 2, 32, kFbankMaxThreads)),
                   value_bytes + (staged ? table_bytes : 0), staged};
}

}  // namespace caracal::cuda

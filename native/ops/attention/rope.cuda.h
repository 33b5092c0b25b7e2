#pragma once
#include <algorithm>
#include <cstdint>

#include "core/math.h"

namespace caracal::cuda {

// Heads of one token per block, where a head has `items` vectors. With all heads in one block, few tokens would leave
// most of the GPU idle.
inline int64_t rope_heads(int64_t heads, int64_t items) {
  constexpr int64_t kBlockItems = 1024, kMaxGridY = 65535;
  return std::max(std::clamp<int64_t>(kBlockItems / items, 1, heads), divide_up(heads, kMaxGridY));
}

}  // namespace caracal::cuda

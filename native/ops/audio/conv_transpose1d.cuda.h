#pragma once
// How a transposed convolution's products are cut into blocks: a pure function of sizes.
#include <algorithm>
#include <cstdint>

namespace caracal::cuda {

struct OverlapBlocks {
  int64_t rows;   // of x whose products are computed together
  int64_t reach;  // earlier rows of x whose products overlap a block's first
};

// n products per row of x.
inline OverlapBlocks overlap_blocks(int64_t rows, int64_t n, int64_t taps, int64_t stride) {
  constexpr int64_t kProducts = 1 << 22;  // 16 MB, which L2 keeps from one kernel to the next
  return {std::clamp<int64_t>(kProducts / std::max<int64_t>(n, 1), 1, std::max<int64_t>(rows, 1)), (taps - 1) / stride};
}

}  // namespace caracal::cuda

#pragma once
// How a dense convolution in exact f32 is cut into blocks: a pure function of sizes. Every choice gives the same bits.
#include <algorithm>

#include "core/math.h"
#include "cuda/gemm/tiles.h"
#include "ops/audio/conv1d.kernels.h"

namespace caracal::cuda {

struct ConvPlan {
  GemmTile tile;
  int64_t shares;  // of the depth; if more than one, a second kernel adds their sums
};

// The product of one of `groups` groups is [m, k] by [n, k].
inline ConvPlan conv_plan(int64_t m, int64_t n, int64_t k, int64_t groups, int sms) {
  constexpr GemmTile kSmall = gemm_tile(kConvSmall), kLarge = gemm_tile(kConvLarge);
  if (m > kSmall.rows && fills_half_gpu(kLarge, m, n * groups, sms)) return {kLarge, 1};
  constexpr int64_t kMaxShares = 65535;  // grid y
  const int64_t shares = divide_up(k, kConvShare);
  const bool idle = groups == 1 && tile_count(kSmall, m, n) < 2 * sms && shares <= kMaxShares;
  return {kSmall, idle ? std::max<int64_t>(shares, 1) : 1};
}

}  // namespace caracal::cuda

#pragma once
// f8e4m3 weights have one f32 scale for each block of 128 x 128 elements: weight = stored value * scale.
#include "core/math.h"

namespace caracal {

inline constexpr int kScaleBlock = 128;

// The scales of a matrix [n, k], [ceil(n / 128)][ceil(k / 128)].
template <class N>
CARACAL_HOST_DEVICE constexpr auto scale_count(N n, N k) {
  return divide_up(n, kScaleBlock) * divide_up(k, kScaleBlock);
}

}  // namespace caracal

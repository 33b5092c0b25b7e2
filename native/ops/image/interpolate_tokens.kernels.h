#pragma once
#include "cuda/kernel.h"

namespace caracal {

// interpolate_tokens_<dtype>: x, y, columns, height, width, to_height, to_width, whether vectors of 16 bytes can be moved
inline constexpr Kernel<const void*, void*, int, long long, long long, long long, long long, bool> kInterpolateTokens{
    "interpolate_tokens"};

}  // namespace caracal

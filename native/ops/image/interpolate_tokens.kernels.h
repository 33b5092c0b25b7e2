#pragma once
#include "cuda/kernel.h"

namespace caracal {

// x, y, columns, height, width, to_height, to_width, whether 16 bytes at a time can be moved. interpolate_tokens_<dtype>
inline constexpr Kernel<const void*, void*, int, long long, long long, long long, long long, bool> kInterpolateTokens{
    "interpolate_tokens"};

}  // namespace caracal

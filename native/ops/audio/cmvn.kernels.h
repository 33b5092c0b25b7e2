#pragma once
#include "cuda/kernel.h"

namespace caracal {

// x, mean, scale, y, elements, channels, whether rows can be moved 16 bytes at a time
inline constexpr Kernel<const void*, const float*, const float*, void*, long long, int, bool> kCmvn{
    "cmvn"};  // cmvn_<dtype>

}  // namespace caracal

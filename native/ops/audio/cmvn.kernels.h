#pragma once
#include "cuda/kernel.h"

namespace caracal {

// x, mean, inverse std, y, elements of x, channels, whether rows are aligned to 16 bytes
inline constexpr Kernel<const void*, const float*, const float*, void*, long long, int, bool> kCmvn{
    "cmvn"};  // cmvn_<dtype>

}  // namespace caracal

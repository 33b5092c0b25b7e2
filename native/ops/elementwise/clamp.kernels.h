#pragma once
#include "cuda/kernel.h"

namespace caracal {

// clamp_<dtype>: x, y, number of elements, low, high, whether vectors of 16 bytes can be moved
inline constexpr Kernel<const void*, void*, long long, float, float, bool> kClamp{"clamp"};

}  // namespace caracal

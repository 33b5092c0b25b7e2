#pragma once
#include "cuda/kernel.h"

namespace caracal {

// magnitude_<dtype>: x, y, elements of y, columns of y
inline constexpr Kernel<const void*, void*, long long, int> kMagnitude{"magnitude"};

}  // namespace caracal

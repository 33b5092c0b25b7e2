#pragma once
#include "cuda/kernel.h"

namespace caracal {

// x, alpha, y, elements of x, channels, whether rows are aligned to 16 bytes
inline constexpr Kernel<const void*, const void*, void*, long long, int, bool> kSnake{"snake"};  // snake_<x>_<alpha>

}  // namespace caracal

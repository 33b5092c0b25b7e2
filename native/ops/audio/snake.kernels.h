#pragma once
#include "cuda/kernel.h"

namespace caracal {

// x, alpha, y, elements, channels, whether rows can be moved 16 bytes at a time
inline constexpr Kernel<const void*, const void*, void*, long long, int, bool> kSnake{"snake"};  // snake_<x>_<alpha>

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"
#include "ops/attention/rotation.kernels.h"

namespace caracal {

// rope_<x>(x, positions, y, heads, heads per block, dim, elements of a head that are copied, frequencies, aligned)
inline constexpr Kernel<const void*, const int*, void*, int, int, int, int, RotaryFrequencies, bool> kRope{"rope"};

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"
#include "ops/attention/rotation.kernels.h"

namespace caracal {

// rope_<x>(x, positions, y, heads, heads of a block, dim, elements of a head before those that turn, table, aligned)
inline constexpr Kernel<const void*, const int*, void*, int, int, int, int, RotaryTable, bool> kRope{"rope"};

}  // namespace caracal

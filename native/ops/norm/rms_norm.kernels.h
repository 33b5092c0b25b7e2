#pragma once
#include "cuda/kernel.h"

namespace caracal {

// x, residual, weight, y, h, columns, eps, whether 16 bytes at a time can be moved, whether a row has room in shared
// memory; residual and h are both null or neither. rms_norm_<x>_<weight>
inline constexpr Kernel<const void*, const void*, const void*, void*, void*, int, float, bool, bool> kRmsNorm{
    "rms_norm"};

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"

namespace caracal {

// rms_norm_<x>_<weight>: x, residual, weight, y, h, columns, eps, whether vectors of 16 bytes can be moved, whether a
// row fits in the dynamic shared memory of the launch. residual and h are both null or both given.
inline constexpr Kernel<const void*, const void*, const void*, void*, void*, int, float, bool, bool> kRmsNorm{
    "rms_norm"};

}  // namespace caracal

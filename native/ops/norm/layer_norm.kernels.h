#pragma once
#include "cuda/kernel.h"

namespace caracal {

// layer_norm_<x>_<weight>: x, weight, bias or null, y, columns, eps, whether vectors of 16 bytes can be moved, whether a
// row fits in the dynamic shared memory of the launch
inline constexpr Kernel<const void*, const void*, const void*, void*, int, float, bool, bool> kLayerNorm{"layer_norm"};

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"

namespace caracal {

// x, weight, bias or null, y, columns, eps, whether 16 bytes at a time can be moved, whether a row has room in shared
// memory. layer_norm_<x>_<weight>
inline constexpr Kernel<const void*, const void*, const void*, void*, int, float, bool, bool> kLayerNorm{"layer_norm"};

}  // namespace caracal

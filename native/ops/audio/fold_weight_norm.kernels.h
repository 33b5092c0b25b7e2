#pragma once
#include "cuda/kernel.h"

namespace caracal {

// v, g, out, elements per row
inline constexpr Kernel<const float*, const float*, float*, long long> kFoldWeightNorm{"fold_weight_norm"};

}  // namespace caracal

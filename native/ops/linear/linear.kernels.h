#pragma once
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

inline constexpr Kernel<GemmOperands, LinearEpilogue> kLinear{"linear"};  // linear_<tile>_<x>_<w>

}  // namespace caracal

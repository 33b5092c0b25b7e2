#pragma once
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

inline constexpr Kernel<GemmOperands, SwigluEpilogue> kSwiglu{"swiglu"};  // swiglu_<tile>_<x>_<w>

}  // namespace caracal

#pragma once
#include "cuda/fault.h"
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

struct GroupedOperands {
  GemmOperands gemm;   // m: the rows of the output; w and scales are those of expert 0
  const int* offsets;  // [experts + 1]
  const int* gather;   // [m], or null
  long long x_rows;
  long long scales;  // from one expert's to the next's
  int experts;
  int least, most;  // rows of the experts whose products this launch makes; `least` 1: and the zeros behind them
};

// <kernel>_<tile>_<x>_<w>
inline constexpr Kernel<GroupedOperands, LinearEpilogue, Fault*> kGroupedGemm{"grouped_gemm"};
inline constexpr Kernel<GroupedOperands, SwigluEpilogue, Fault*> kGroupedSwiglu{"grouped_swiglu"};

}  // namespace caracal

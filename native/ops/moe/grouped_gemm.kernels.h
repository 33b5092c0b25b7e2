#pragma once
#include "cuda/fault.h"
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

struct GroupedOperands {
  GemmOperands gemm;   // m: the rows of the output; w and scales are those of expert 0
  const int* offsets;  // [experts + 1]
  const int* gather;   // [m], or null
  long long x_rows;
  long long expert_scale_bytes;  // of an expert
  int experts;
  int min_rows, max_rows;  // of the experts whose tiles this launch computes; min_rows 1: also the zeros behind them
};

// The checks that can fail, as a fault's `argument`.
enum GroupedFault { kOffsetsFault, kGatherFault };

// <kernel>_<tile>_<x>_<w>
inline constexpr Kernel<GroupedOperands, LinearEpilogue, Fault*> kGroupedGemm{"grouped_gemm"};
inline constexpr Kernel<GroupedOperands, SwigluEpilogue, Fault*> kGroupedSwiglu{"grouped_swiglu"};

// Room in static shared memory for a block's current tile (GroupTile) and a scan.
inline constexpr int kGroupTileBytes = 4 << 10;

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kPeakThreads = 256;
inline constexpr int kPeakChains = 8;  // of instructions that do not depend on each other, per thread or warp

// peak_fma and peak_matrix: steps, output that is never written
inline constexpr Kernel<int, float*> kPeakFma{"peak_fma"}, kPeakMatrix{"peak_matrix"};
// peak_read: float4s, how many, output that is never written
inline constexpr Kernel<const void*, long long, float*> kPeakRead{"peak_read"};
// peak_results: the three peaks, output
inline constexpr Kernel<float, float, float, float*> kPeakResults{"peak_results"};

}  // namespace caracal

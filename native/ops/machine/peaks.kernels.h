#pragma once
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kPeakThreads = 256;
inline constexpr int kPeakChains = 8;  // of instructions that do not wait for each other, in a thread or warp

// steps, memory that is never written
inline constexpr Kernel<int, float*> kPeakFma{"peak_fma"}, kPeakMatrix{"peak_matrix"};
// float4s, how many, memory that is never written
inline constexpr Kernel<const void*, long long, float*> kPeakRead{"peak_read"};
// the three peaks, output
inline constexpr Kernel<float, float, float, float*> kPeakResults{"peak_results"};

}  // namespace caracal

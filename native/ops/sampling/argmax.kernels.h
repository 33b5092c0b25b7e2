#pragma once
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kArgmaxThreads = 128, kArgmaxRows = kArgmaxThreads / 32;  // per block, a warp for each row

// argmax: best candidates [rows][parts], rows, parts, ids
inline constexpr Kernel<const unsigned long long*, long long, int, int*> kArgmax{"argmax"};

}  // namespace caracal

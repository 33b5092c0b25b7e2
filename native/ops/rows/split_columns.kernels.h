#pragma once
#include "cuda/kernel.h"

namespace caracal {

// copy_columns_<unit>: x from the piece's first column on, y, rows, units per row of y, units per row of x, log2 of the
// lanes per row
inline constexpr Kernel<const void*, void*, long long, long long, long long, int> kCopyColumns{"copy_columns"};

}  // namespace caracal

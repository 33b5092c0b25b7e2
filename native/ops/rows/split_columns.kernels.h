#pragma once
#include "cuda/kernel.h"

namespace caracal {

// x from the piece's first column, y, rows, units of the piece's row, units of x's row, log2 of the lanes per row.
// copy_columns_<unit>
inline constexpr Kernel<const void*, void*, long long, long long, long long, int> kCopyColumns{"copy_columns"};

}  // namespace caracal

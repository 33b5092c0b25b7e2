#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

// The parameters of both: x, row ids, y, number of ids, items per row, rows of x, log2 of the lanes per row, whether a
// negative id gives zeros, fault.
// gather_rows_<unit>: an item is one unit of bytes
inline constexpr Kernel<const void*, const int*, void*, long long, long long, long long, int, bool, Fault*> kGatherRows{
    "gather_rows"};
// gather_rows_<from>_<to>: an item is one element, or four if the additional last parameter says that they are aligned
inline constexpr Kernel<const void*, const int*, void*, long long, long long, long long, int, bool, Fault*, bool>
    kGatherConvertedRows{"gather_rows"};

}  // namespace caracal

#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

// Both take x, row ids, y, how many ids, items of a row, rows of x, log2 of the lanes per row, whether a negative id
// is a row of zeros, and the fault.
// gather_rows_<unit>: an item is a unit of bytes
inline constexpr Kernel<const void*, const int*, void*, long long, long long, long long, int, bool, Fault*> kGatherRows{
    "gather_rows"};
// gather_rows_<from>_<to>: an item is an element, or four where the last parameter says that they are aligned
inline constexpr Kernel<const void*, const int*, void*, long long, long long, long long, int, bool, Fault*, bool>
    kGatherConvertedRows{"gather_rows"};

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"
#include "ops/audio/time_rows.h"

namespace caracal {

// x, y, elements of y, first frame of row 0, frames per row, stride, oldest frame, newest frame, whether rows are
// aligned to 16 bytes
inline constexpr Kernel<TimeRows<void>, void*, long long, long long, int, int, long long, long long, bool> kSplice{
    "splice"};  // splice_<dtype>

}  // namespace caracal

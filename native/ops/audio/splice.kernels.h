#pragma once
#include "cuda/kernel.h"
#include "ops/audio/time_rows.kernels.h"

namespace caracal {

// x, y, elements of y, first frame of row 0, frames in a row, stride, oldest frame, newest frame, whether rows can be
// moved 16 bytes at a time
inline constexpr Kernel<TimeRows<void>, void*, long long, long long, int, int, long long, long long, bool> kSplice{
    "splice"};  // splice_<dtype>

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"

namespace caracal {

// dequantize_affine_<scale>_<out>: codes, scale, bias or null, output, number of times eight codes, times eight codes in a
// group, bits
inline constexpr Kernel<const unsigned char*, const void*, const void*, void*, long long, int, int> kDequantizeAffine{
    "dequantize_affine"};

}  // namespace caracal

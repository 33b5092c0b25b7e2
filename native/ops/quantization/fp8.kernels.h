#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kQuantizeFp8Threads = 256;

// quantize_fp8_<dtype>: w, codes, scales, rows, columns, fault; a block of threads per block of weights
inline constexpr Kernel<const void*, unsigned char*, float*, long long, long long, Fault*> kQuantizeFp8{"quantize_fp8"};
// dequantize_fp8_<out>: codes, scales, output, number of elements, columns
inline constexpr Kernel<const unsigned char*, const float*, void*, long long, long long> kDequantizeFp8{
    "dequantize_fp8"};

}  // namespace caracal

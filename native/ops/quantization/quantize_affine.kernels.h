#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kQuantizeWarps = 8;  // of a block, one per group

// quantize_affine_<dtype>: w, codes as words, scale, bias, number of groups, columns of a group, bits, fault
inline constexpr Kernel<const void*, unsigned*, void*, void*, long long, int, int, Fault*> kQuantizeAffine{
    "quantize_affine"};

}  // namespace caracal

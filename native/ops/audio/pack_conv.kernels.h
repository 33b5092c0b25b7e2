#pragma once
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kPackTile = 64, kPackThreads = 256;  // channels and columns of a block, at most

// from, to, channels, columns, taps, columns of a block
inline constexpr Kernel<const void*, void*, long long, long long, int, int> kPackConv{
    "pack_conv"};  // pack_conv_<dtype>

}  // namespace caracal

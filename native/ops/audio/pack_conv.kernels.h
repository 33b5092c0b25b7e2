#pragma once
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kPackTile = 64;  // channels of a block, and the most columns
inline constexpr int kPackThreads = 256;

// w, packed, channels, columns, taps, columns per block
inline constexpr Kernel<const void*, void*, long long, long long, int, int> kPackConv{
    "pack_conv"};  // pack_conv_<dtype>

}  // namespace caracal

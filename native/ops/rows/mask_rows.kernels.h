#pragma once
#include "cuda/kernel.h"

namespace caracal {

// What a launch of mask_rows is told of its sequences.
struct MaskLengths {
  static constexpr int kMost = 128;
  long long kept[kMost];  // units
};

// x, y, units of a sequence, lengths. mask_rows_<unit>
inline constexpr Kernel<const void*, void*, long long, MaskLengths> kMaskRows{"mask_rows"};

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"

namespace caracal {

inline constexpr int kMaskThreads = 256;

// The sequences of one launch, a blockIdx.y for each.
struct MaskLengths {
  static constexpr int kMaxSequences = 128;
  long long units[kMaxSequences];  // that are copied; the rest of the sequence becomes zeros
};

// mask_rows_<unit>: x, y, units per sequence, lengths
inline constexpr Kernel<const void*, void*, long long, MaskLengths> kMaskRows{"mask_rows"};

}  // namespace caracal

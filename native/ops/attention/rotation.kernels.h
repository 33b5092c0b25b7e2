#pragma once
#include <cstdint>

namespace caracal {

// A kernel's parameter: the rotary frequencies of vectors of `dim` elements. The host computes the first of them, since
// its pow is more accurate; kernels compute those beyond kStored.
struct RotaryFrequencies {
  static constexpr int64_t kStored = 128;
  double theta;
  long long dim;
  double frequency[kStored];
};

}  // namespace caracal

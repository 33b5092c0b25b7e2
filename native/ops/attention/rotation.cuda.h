#pragma once
#include "ops/attention/rotation.h"
#include "ops/attention/rotation.kernels.h"

namespace caracal::cuda {

inline RotaryFrequencies rotary_frequencies(double theta, int64_t dim) {
  RotaryFrequencies f{theta, dim, {}};
  for (int64_t i = 0; i < RotaryFrequencies::kStored && 2 * i < dim; i++)
    f.frequency[i] = rotary_frequency(theta, i, dim);
  return f;
}

}  // namespace caracal::cuda

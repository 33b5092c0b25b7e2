#pragma once
// Shared by the rotary position embeddings of every backend.
#include <cmath>

#include "core/dtype.h"

namespace caracal {

// Radians per position of pair i of a vector of `dim` elements.
CARACAL_INLINE double rotary_frequency(double theta, int64_t i, int64_t dim) {
  return std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
}

}  // namespace caracal

#pragma once
// The check of the head dimension, and the scale that attention derives from it.
#include <cmath>
#include <optional>

#include "core/check.h"

namespace caracal {

inline constexpr double kLog2E = 1.4426950408889634;

inline void check_head_dim(const Checker& c, int64_t dim) {
  if (dim < 8 || dim % 8 != 0)
    c.bad(code::kShapeMismatch, "head dimension", "must be a positive multiple of 8, got " + std::to_string(dim));
}

// The factor of q · k, scale or qk_dim^-1/2, times log2(e): every backend takes its exponentials as powers of two.
CARACAL_INLINE float score_scale(std::optional<double> scale, int64_t qk_dim) {
  return static_cast<float>(kLog2E * scale.value_or(1 / std::sqrt(static_cast<double>(qk_dim))));
}

}  // namespace caracal

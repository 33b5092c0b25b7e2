#pragma once
// What `sample` draws with: a candidate's share of the probability as an integer, so that sums are exact and every
// backend, in whatever order it adds, draws the same id. Read by kernels and by the host.
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace caracal {

// The weight of the largest logit; others have floor(kOneWeight · 2^((logit - largest) · scale)).
inline constexpr int kWeightBits = 40;
inline constexpr float kOneWeight = 0x1p40f;
inline constexpr float kLeastExponent = -64;               // less is as good: the weight is 0
inline constexpr int64_t kMostSampled = int64_t{1} << 23;  // so many weights have a sum below 2^63

// 1 / temperature, of a power of two. A temperature above 0 that is too small for f32 is the least that is not.
CARACAL_HOST_DEVICE float weight_scale(double temperature) {
  const double scale = 1.4426950408889634 / temperature;
  return static_cast<float>(scale < FLT_MAX ? scale : FLT_MAX);
}

// 2^f for f in [-1/2, 1/2] (Cephes, S. L. Moshier), in separate multiplications and additions: fused ones would give
// other bits where there are none.
template <class F, class Constant>
CARACAL_HOST_DEVICE F exp2_fraction(F f, Constant constant) {
  F y = constant(1.535336188319500e-4f);
  y = y * f + constant(1.339887440266574e-3f);
  y = y * f + constant(9.618437357674640e-3f);
  y = y * f + constant(5.550332471162809e-2f);
  y = y * f + constant(2.402264791363012e-1f);
  y = y * f + constant(6.931472028550421e-1f);
  return y * f + constant(1.0f);
}

// The weight that `top_p` of `total` is at least.
CARACAL_HOST_DEVICE uint64_t weight_share(uint64_t total, double top_p) {
  if (top_p >= 1) return total;
  const auto share = static_cast<uint64_t>(ceil(top_p * static_cast<double>(total)));
  return share < total ? share : total;
}

}  // namespace caracal

#pragma once
// The probabilities of `sample` as integer weights, shared by the backends: sums are exact, so every backend draws the
// same id in whatever order it adds.
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace caracal {

// A logit's weight is floor(kMaxWeight · 2^((logit - largest) · scale)), so the largest logit has kMaxWeight.
inline constexpr int kWeightBits = 40;
inline constexpr float kMaxWeight = 0x1p40f;
inline constexpr float kMinExponent = -64;                   // below it, weights are 0 anyway
inline constexpr int64_t kMaxSampledIds = int64_t{1} << 23;  // this many weights have a sum below 2^63

// log2(e) / temperature, clamped to FLT_MAX.
CARACAL_HOST_DEVICE float weight_scale(double temperature) {
  const double scale = 1.4426950408889634 / temperature;
  return static_cast<float>(scale < FLT_MAX ? scale : FLT_MAX);
}

// 2^f for f in [-1/2, 1/2] (Cephes, S. L. Moshier), with separate multiplications and additions: an FMA would round
// differently on backends without one.
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

// The least weight that makes up the share `top_p` of `total`.
CARACAL_HOST_DEVICE uint64_t top_p_weight(uint64_t total, double top_p) {
  if (top_p >= 1) return total;
  const auto share = static_cast<uint64_t>(ceil(top_p * static_cast<double>(total)));
  return share < total ? share : total;
}

}  // namespace caracal

#pragma once
// The limits of quantisation and the scale of an affine group, one definition for both backends.
#include <cmath>

#include "core/host_device.h"

namespace caracal {

// Weights of a larger magnitude are refused: the range of a group must be finite, and no published weight is near.
inline constexpr float kLargestWeight = 0x1p126f;

inline constexpr float kLargestFp8 = 448;
inline constexpr float kSmallestFp8Scale = 0x1p-126f;  // a smaller one would be subnormal

struct AffineGroup {
  float scale, bias;
};

// The scale and bias of a group whose weights lie in [smallest, largest], by the equations of quantize_affine.h.
CARACAL_HOST_DEVICE AffineGroup affine_group(float smallest, float largest, float levels) {
  const bool low = fabsf(smallest) > fabsf(largest);
  const float range = fmaxf((largest - smallest) / levels, 1e-7f);
  const float scale = low ? range : -range, edge = low ? smallest : largest;
  const float steps = rintf(edge / scale);
  if (steps == 0) return {scale, 0};
  return {edge / steps, edge};
}

}  // namespace caracal

#pragma once
// The input positions of bilinear interpolation, shared by the backends.
#include <cstdint>

#include "core/host_device.h"

namespace caracal {

// An output lies between inputs `low` and `high`, at `fraction` of the distance from low.
struct BilinearTap {
  int64_t low, high;
  float fraction;
};

// Output i of `out`, of `in` inputs: half-pixel centres, clamped edges.
CARACAL_HOST_DEVICE BilinearTap bilinear_tap(int64_t i, int64_t in, int64_t out) {
  const double at = (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
  if (at <= 0) return {0, 0, 0};
  const int64_t low = static_cast<int64_t>(at);
  return {low, low + 1 < in ? low + 1 : low, static_cast<float>(at - static_cast<double>(low))};
}

}  // namespace caracal

#pragma once
// Where interpolateTokens reads. Read by kernels and by the host.
#include <cstdint>

#include "core/host_device.h"

namespace caracal {

// Between which two input positions output i lies, and how far from the first.
struct Between {
  int64_t low, high;
  float fraction;
};

CARACAL_HOST_DEVICE Between between(int64_t i, int64_t in, int64_t out) {
  const double at = (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
  if (at <= 0) return {0, 0, 0};
  const int64_t low = static_cast<int64_t>(at);
  return {low, low + 1 < in ? low + 1 : low, static_cast<float>(at - static_cast<double>(low))};
}

}  // namespace caracal

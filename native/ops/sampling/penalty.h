#pragma once
// The arithmetic of repetitionPenalty, in f64. Read by kernels and by the host.

#include "core/host_device.h"

namespace caracal {

// A logit whose id came up `count` times.
CARACAL_HOST_DEVICE float penalised(float logit, double penalty, long long count) {
  double factor = 1;
  for (; count > 0; count /= 2, penalty *= penalty)
    if (count % 2 == 1) factor *= penalty;
  return static_cast<float>(logit < 0 ? logit * factor : logit / factor);
}

}  // namespace caracal

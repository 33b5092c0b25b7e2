#pragma once
// The arithmetic of repetitionPenalty, in f64, shared by the backends.

#include "core/host_device.h"

namespace caracal {

// The logit of an id that occurs `count` times in the history.
CARACAL_HOST_DEVICE float penalised(float logit, double penalty, long long count) {
  double factor = 1;
  for (; count > 0; count /= 2, penalty *= penalty)
    if (count % 2 == 1) factor *= penalty;
  return static_cast<float>(logit < 0 ? logit * factor : logit / factor);
}

}  // namespace caracal

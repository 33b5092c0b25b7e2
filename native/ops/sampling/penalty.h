#pragma once
// The arithmetic of repetitionPenalty, in f64. Read by kernels and by the host.

#ifdef __CUDACC__
#define CARACAL_PENALTY __device__ inline
#else
#include "core/dtype.h"
#define CARACAL_PENALTY CARACAL_INLINE
#endif

namespace caracal {

// A logit whose id came up `count` times.
CARACAL_PENALTY float penalised(float logit, double penalty, long long count) {
  double factor = 1;
  for (; count > 0; count /= 2, penalty *= penalty)
    if (count % 2 == 1) factor *= penalty;
  return static_cast<float>(logit < 0 ? logit * factor : logit / factor);
}

}  // namespace caracal

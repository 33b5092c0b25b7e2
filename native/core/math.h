#pragma once
// Integer arithmetic on sizes, for host and device.
#include "core/host_device.h"

namespace caracal {

// n / d, rounded up; both are at least 0.
template <class N, class D>
CARACAL_HOST_DEVICE constexpr auto divide_up(N n, D d) {
  return (n + d - 1) / d;
}

// The smallest multiple of d that is not less than n.
template <class N, class D>
CARACAL_HOST_DEVICE constexpr auto round_up(N n, D d) {
  return divide_up(n, d) * d;
}

}  // namespace caracal

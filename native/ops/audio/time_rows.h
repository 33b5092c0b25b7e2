#pragma once
#include "core/host_device.h"

namespace caracal {

// The sequence [state; x], addressed by time: x begins at time 0, and the state's rows have negative times.
template <class T>
struct TimeRows {
  const T* x;
  long long rows;
  int channels;
  const T* state;  // null without a state
  long long state_rows;

  // Row t, or null outside the sequence, where it is zero.
  CARACAL_HOST_DEVICE const T* at(long long t) const {
    if (t >= 0) return t < rows ? x + t * channels : nullptr;
    return t >= -state_rows ? state + (state_rows + t) * channels : nullptr;
  }
};

}  // namespace caracal

#pragma once
#include "core/host_device.h"

namespace caracal {

// Rows of a sequence by time, for the operations of ops/audio/streaming.h.
template <class T>
struct TimeRows {
  const T* x;
  long long rows;
  int channels;
  const T* state;  // its rows have negative times; null if there is none
  long long state_rows;

  // Null where the sequence is zero.
  CARACAL_HOST_DEVICE const T* at(long long t) const {
    if (t >= 0) return t < rows ? x + t * channels : nullptr;
    return t >= -state_rows ? state + (state_rows + t) * channels : nullptr;
  }
};

}  // namespace caracal

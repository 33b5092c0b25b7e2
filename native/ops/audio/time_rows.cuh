#pragma once
// Rows of a sequence by time, for the operations of ops/audio/streaming.h.

namespace caracal {

template <class T>
struct TimeRows {
  const T* x;
  long long rows;
  int channels;
  const T* state;  // its rows have negative times; null if there is none
  long long state_rows;

  // Null where the sequence is zero.
  __device__ const T* at(long long t) const {
    if (t >= 0) return t < rows ? x + t * channels : nullptr;
    return t >= -state_rows ? state + (state_rows + t) * channels : nullptr;
  }
};

}  // namespace caracal

#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

struct CombineParameters {
  const void* y;  // [rows, columns]
  const void* x;
  const void* residual;  // or null
  const float* weights;
  const int* slot_of;
  const float* zero_weight;
  void* out;
  long long rows, columns;
  int picks;     // per token
  bool aligned;  // rows can be moved 16 bytes at a time
};

inline constexpr Kernel<CombineParameters, Fault*> kCombine{"combine"};  // combine_<dtype>

// Small blocks, so that the row of a single token occupies many multiprocessors.
inline constexpr int kCombineThreads = 128;

}  // namespace caracal

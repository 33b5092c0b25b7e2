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
  int picks;     // of a token
  bool aligned;  // a row's 16 bytes at a time
};

inline constexpr Kernel<CombineParameters, Fault*> kCombine{"combine"};  // combine_<dtype>

}  // namespace caracal

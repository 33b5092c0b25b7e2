#pragma once
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

inline constexpr int kLstmMostThreads = 512;

struct LstmSteps {
  const float* input;  // [steps, 4, hidden], x · wIh^T + bIh
  const void* w;       // wHh [4, hidden, hidden]
  ColumnVector b_hh;
  float* h[2];        // before even and odd steps
  float* h_end;       // after the last
  float* c;           // [hidden], moved on
  void* y;            // [steps, hidden]
  unsigned* arrived;  // counts the blocks that have finished steps, from 0; not used by a step alone
  int hidden, steps;
  int units;     // of a block
  int kept;      // of those, how many have their rows of w in shared memory
  bool aligned;  // rows of w begin at multiples of 16 bytes and have a multiple of 8 elements
};

inline constexpr Kernel<LstmSteps> kLstm{"lstm"};  // lstm_<x>_<w>

}  // namespace caracal

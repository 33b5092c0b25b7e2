#pragma once
// What the host tells a matrix product's kernel; read by both.
#include "core/activation.h"

namespace caracal {

// y[M, N] = epilogue(x[M, K] . W[N, K]^T), or with two weights of one shape, whose sums reach the epilogue together.
struct GemmOperands {
  const void* x;
  const void* w[2];
  const float* scales[2];  // of f8e4m3 weights
  long long m, n, k;
  bool aligned;  // every row of x and of the weights begins at a multiple of 16 bytes
};

// A parameter per column, f32 or bf16. Null where there is none.
struct ColumnVector {
  const void* data;
  bool bf16;
};

// out = residual + gain * activation(sum + bias)
struct LinearEpilogue {
  void* out;             // [M, N]
  const void* residual;  // [M, N] of out's dtype, or null
  ColumnVector bias, gain;
  Activation activation;
  bool bf16;     // out's dtype; else f32
  bool aligned;  // 8 columns from a multiple of 8 on can be moved 16 bytes at a time
};

// out = silu(gate + gate_bias) * (up + up_bias)
struct SwigluEpilogue {
  void* out;  // [M, N]
  ColumnVector gate_bias, up_bias;
  bool bf16;
  bool aligned;
};

}  // namespace caracal

#pragma once
// What host and device agree on about matrix products: the parameters of their kernels, and the kernels' tiles.
#include "core/activation.h"
#include "core/scale_block.h"
#include "cuda/kernel.h"

namespace caracal {

// y[M, N] = epilogue(x[M, K] . W[N, K]^T), or with two weights of one shape, whose sums reach the epilogue together.
struct GemmOperands {
  const void* x;
  const void* w[2];
  const float* scales[2];  // of f8e4m3 weights
  long long m, n, k;
  bool aligned;  // every row of x and of the weights starts at a multiple of 16 bytes
};

// A parameter per column, f32 or bf16; data is null when the product has none.
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
  bool aligned;  // 8 columns starting at a multiple of 8 can be moved 16 bytes at a time
};

// out = silu(gate + gate_bias) * (up + up_bias)
struct SwigluEpilogue {
  void* out;  // [M, N]
  ColumnVector gate_bias, up_bias;
  bool bf16;
  bool aligned;
};

// --- tiles ----------------------------------------------------------------------------------------------------------

// A block's tile of the output in exact f32; a thread computes thread_rows x thread_columns sums. `columns` counts those
// of one weight's product. Names are part of the entries' names.
struct SimtShape {
  char name[16];
  int rows, columns, thread_rows, thread_columns;

  constexpr int threads() const { return rows / thread_rows * (columns / thread_columns); }
};

// A block's tile of the output on tensor cores, and the stages of its ring in shared memory.
struct TensorShape {
  char name[16];
  int rows, columns, warps_m, warps_n, stages;

  constexpr int threads() const { return warps_m * warps_n * 32; }
};

inline constexpr int kTileK = 64;  // elements of k in a stage

// Of products with one weight, then of those with two, whose sums share the registers. The small tile is for decoding:
// its many blocks keep the memory busy. The large one computes as many products per byte of shared memory as registers
// allow.
inline constexpr SimtShape kSimtShapes[2][2] = {{{"simt_small", 16, 32, 2, 2}, {"simt_large", 128, 128, 8, 8}},
                                                {{"simt_small", 16, 16, 2, 1}, {"simt_large", 128, 64, 8, 4}}};
inline constexpr TensorShape kTensorShapes[2][3] = {
    {{"tensor_small", 16, 32, 1, 4, 8}, {"tensor_medium", 64, 64, 2, 2, 4}, {"tensor_large", 128, 128, 2, 4, 3}},
    {{"tensor_small", 16, 32, 1, 4, 6}, {"tensor_medium", 64, 32, 2, 2, 4}, {"tensor_large", 128, 64, 2, 4, 3}}};
inline constexpr TensorShape kTensor96{"tensor_96", 32, 96, 1, 4, 4};  // for convolutions of 96 channels

}  // namespace caracal

#pragma once
// The parameters and tiles of the matrix product kernels, shared by host and device.
#include <cstddef>

#include "core/activation.h"
#include "core/scale_block.h"
#include "cuda/kernel.h"

namespace caracal {

// --- codes of q4 and q8 weights (cuda/packed_weight.h) ---------------------------------------------------------------

inline constexpr int kCodeBlock = 32;  // neighbouring codes of a row that are stored together

// The dtype of their scales and biases.
enum class ScaleType { f32, bf16, f16 };

// Pairs of a scale and a bias: those of a group of k for each column, group after group.
struct GroupPairs {
  long long columns;  // N with its padding
  int group_bits;     // a group has 2^group_bits elements of k: 32, 64 or 128
  ScaleType type;

  CARACAL_HOST_DEVICE constexpr int pair_bytes() const { return type == ScaleType::f32 ? 8 : 4; }
  CARACAL_HOST_DEVICE constexpr long long group_bytes() const { return columns * pair_bytes(); }
};

// --- operands -------------------------------------------------------------------------------------------------------

// y[M, N] = epilogue(x[M, K] . W[N, K]^T). With two weights of the same shape, both sums reach the epilogue together.
struct GemmOperands {
  const void* x;
  const void* w[2];
  const void* scales[2];  // f8e4m3, q4 and q8: see cuda/packed_weight.h
  long long m, n, k;
  bool aligned;      // every row of x and of the weights starts at a multiple of 16 bytes
  GroupPairs pairs;  // q4 and q8: what `scales` point to
};

// One parameter per column, f32 or bf16; data is null if the product has none.
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
  bool bf16;     // out's dtype; otherwise f32
  bool aligned;  // 8 columns that start at a multiple of 8 can be moved 16 bytes at a time
};

// out = silu(gate + gate_bias) * (up + up_bias)
struct SwigluEpilogue {
  void* out;  // [M, N]
  ColumnVector gate_bias, up_bias;
  bool bf16;
  bool aligned;
};

// --- tiles ----------------------------------------------------------------------------------------------------------
// A block computes one tile of the output, rows x columns of every weight's product. A shape is a template argument of
// the device code and a row of the host's tables; `groups` is the number of weights. Entries are named after tiles.

// Exact f32; each thread computes thread_rows x thread_columns sums. The tiles of x and W are in static shared memory.
struct SimtShape {
  char name[16];
  int rows, columns, thread_rows, thread_columns;

  constexpr int threads() const { return rows / thread_rows * (columns / thread_columns); }
  constexpr size_t shared_bytes(int groups) const;
};
inline constexpr int kSimtTileK = 32;               // elements of k in shared memory at once
inline constexpr int kSimtStride = kSimtTileK + 4;  // of f32 rows: 16-byte reads of eight rows hit all banks
constexpr size_t SimtShape::shared_bytes(int groups) const {
  return static_cast<size_t>(rows + columns * groups) * kSimtStride * sizeof(float);
}

// Tensor cores; stages of kTileK elements of k pass through a ring in dynamic shared memory.
struct TensorShape {
  char name[16];
  int rows, columns, warps_m, warps_n, stages;

  constexpr int threads() const { return warps_m * warps_n * 32; }
  constexpr size_t ring_bytes(int groups, size_t column_bytes) const;
  // The sums pass through the same memory on their way out.
  constexpr int sum_stride(int groups) const { return columns * groups + 8; }  // float2 of four rows hit all banks
  constexpr size_t sum_bytes(int groups) const {
    return static_cast<size_t>(rows * sum_stride(groups)) * sizeof(float);
  }
};
inline constexpr int kTileK = 64;
// A stage holds the pairs of up to two groups.
inline constexpr int kStageGroups = kTileK / kCodeBlock;
inline constexpr size_t kStagePairBytes = kStageGroups * 2 * sizeof(float);
// The bytes of a column of the weights in a stage.
constexpr size_t column_bytes(size_t weight_bits, bool codes) {
  return kTileK * weight_bits / 8 + (codes ? kStagePairBytes : 0);
}
constexpr size_t TensorShape::ring_bytes(int groups, size_t column_bytes) const {
  constexpr size_t kRowBytes = 2 * kTileK;  // bf16
  return static_cast<size_t>(stages) *
         (static_cast<size_t>(rows) * kRowBytes + static_cast<size_t>(columns * groups) * column_bytes);
}

// First the tiles for one weight, then those for two, whose sums share the registers. The small tile is for decoding:
// its many blocks keep the memory busy. The large one performs as many multiplications per byte of shared memory as the
// registers allow.
inline constexpr SimtShape kSimtShapes[2][2] = {{{"simt_small", 16, 32, 2, 2}, {"simt_large", 128, 128, 8, 8}},
                                                {{"simt_small", 16, 16, 2, 1}, {"simt_large", 128, 64, 8, 4}}};
inline constexpr TensorShape kTensorShapes[2][3] = {
    {{"tensor_small", 16, 32, 1, 4, 8}, {"tensor_medium", 64, 64, 2, 2, 4}, {"tensor_large", 128, 128, 2, 4, 3}},
    {{"tensor_small", 16, 32, 1, 4, 6}, {"tensor_medium", 64, 32, 2, 2, 4}, {"tensor_large", 128, 64, 2, 4, 3}}};
inline constexpr TensorShape kTensor96{"tensor_96", 32, 96, 1, 4, 4};  // for convolutions with 96 channels

}  // namespace caracal

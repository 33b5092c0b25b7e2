#pragma once
#include "cuda/gemm/gemm.kernels.h"
#include "ops/audio/depthwise.kernels.h"

namespace caracal {

struct FsmnTaps {
  int left_order, right_order, left_stride, right_stride;
  int delay;  // rows by which the output lags behind z

  CARACAL_HOST_DEVICE int count() const { return left_order + 1 + right_order; }
  CARACAL_HOST_DEVICE int offset(int k) const {
    return (k <= left_order ? (k - left_order) * left_stride : (k - left_order) * right_stride) - delay;
  }
};

// z, weight, residual, y, taps, block
inline constexpr Kernel<TimeRows<void>, const void*, TimeRows<void>, void*, FsmnTaps, DepthwiseBlock> kFsmnMemory{
    "fsmn_memory"};  // fsmn_memory_<x>_<weight>

// --- with a layer norm ----------------------------------------------------------------------------------------------

inline constexpr int kFsmnThreads = 512;

struct FsmnNorm {
  ColumnVector weight, bias;
  float eps;
  int threads;  // of the layer_norm block whose order of summation gives the same bits
};

// A block computes the output rows [blockIdx.x · rows, ...) of `total` and the columns [blockIdx.y · columns, ...).
struct FsmnBlock {
  int rows, columns;
  long long total;
};

// x, norm, weight, residual, y, next state or null, taps, block, whether rows are aligned to 16 bytes
inline constexpr Kernel<TimeRows<void>, FsmnNorm, const void*, TimeRows<void>, void*, void*, FsmnTaps, FsmnBlock, bool>
    kFsmnMemoryNorm{"fsmn_memory_norm"};  // fsmn_memory_norm_<x>_<weight>

}  // namespace caracal

#pragma once
#include "cuda/gemm/gemm.kernels.h"
#include "ops/audio/depthwise.kernels.h"

namespace caracal {

struct FsmnOrders {
  int left_order, right_order, left_stride, right_stride;
  int delay;  // rows by which the output lags behind z
};

// z, weight, residual, y, orders, block
inline constexpr Kernel<TimeRows<void>, const void*, TimeRows<void>, void*, FsmnOrders, DepthwiseBlock> kFsmnMemory{
    "fsmn_memory"};  // fsmn_memory_<x>_<weight>

// --- with a layer norm ----------------------------------------------------------------------------------------------

inline constexpr int kFsmnThreads = 512;

struct FsmnNorm {
  ColumnVector weight, bias;
  float eps;
  int threads;  // of a block of layer_norm, which sums a row in the order that is kept here
};

struct FsmnBlock {
  int rows, columns;  // of the output, per block: [blockIdx.x · rows, ...) of `total`, [blockIdx.y · columns, ...)
  long long total;
};

// x, norm, weight, residual, y, next state or null, orders, block, whether rows can be moved 16 bytes at a time
inline constexpr Kernel<TimeRows<void>, FsmnNorm, const void*, TimeRows<void>, void*, void*, FsmnOrders, FsmnBlock,
                        bool>
    kFsmnMemoryNorm{"fsmn_memory_norm"};  // fsmn_memory_norm_<x>_<weight>

}  // namespace caracal

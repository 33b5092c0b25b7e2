#pragma once
// What the host tells the kernels of the FSMN memory; read by both.
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

struct FsmnOrders {
  int left_order, right_order, left_stride, right_stride;
  int delay;  // rows by which the output lags behind z
};

inline constexpr int kFsmnThreads = 512;  // with a layer norm

struct FsmnNorm {
  ColumnVector weight, bias;
  float eps;
  int threads;  // of a block of layer_norm, which sums a row in the order that is kept here
};

struct FsmnBlock {
  int rows, columns;  // of the output, per block: [blockIdx.x · rows, ...) of `total`, [blockIdx.y · columns, ...)
  long long total;
};

}  // namespace caracal

#pragma once
// Layer norm on the GPU, shared by layerNorm and fsmnMemory.
#include "cuda/implement.h"
#include "ops/norm/layer_norm.h"
#include "ops/norm/layer_norm.kernels.h"

namespace caracal::cuda {

// y [T, C] of x's dtype.
inline void launch_layer_norm(Cuda& cuda, const LayerNorm& op, void* y) {
  const int64_t n = op.x.shape[-1];
  const RowBlocks blocks = row_blocks(op.x.dtype, n, {address(op.x), address(op.weight), address(op.bias), y});
  cuda.launch(entry_of(kLayerNorm, op.x.dtype, op.weight.dtype),
              {{unsigned(op.x.shape.rows())}, blocks.threads, blocks.shared_bytes}, address(op.x), address(op.weight),
              address(op.bias), y, int(n), float(op.eps), blocks.aligned, blocks.shared_bytes > 0);
}

}  // namespace caracal::cuda

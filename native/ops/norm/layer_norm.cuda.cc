#include "ops/norm/layer_norm.h"

#include "cuda/implement.h"

namespace caracal::cuda {

void run(const LayerNorm& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.x.shape[-1];
  const RowBlocks blocks =
      row_blocks(op.x.dtype, n, {address(op.x), address(op.weight), address(op.bias), address(out[0])});
  cuda.launch({"norm", kernel_name("layer_norm", op.x.dtype, op.weight.dtype)}, {unsigned(op.x.shape.rows())},
              blocks.threads, blocks.shared_bytes, address(op.x), address(op.weight), address(op.bias), address(out[0]),
              int(n), float(op.eps), blocks.aligned, blocks.shared_bytes > 0);
}

}  // namespace caracal::cuda

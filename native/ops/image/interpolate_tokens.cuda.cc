#include "ops/image/interpolate_tokens.h"

#include "cuda/implement.h"

namespace caracal::cuda {

void run(const InterpolateTokens& op, std::span<Tensor> out, Cuda& cuda) {
  const RowBlocks blocks = row_blocks(op.x.dtype, op.x.shape[1], {address(op.x), address(out[0])});
  cuda.launch({"image", kernel_name("interpolate_tokens", op.x.dtype)}, {static_cast<unsigned>(out[0].shape.rows())},
              blocks.threads, 0, address(op.x), address(out[0]), static_cast<int>(op.x.shape[1]),
              static_cast<long long>(op.height), static_cast<long long>(op.width), static_cast<long long>(op.to_height),
              static_cast<long long>(op.to_width), blocks.aligned);
}

}  // namespace caracal::cuda

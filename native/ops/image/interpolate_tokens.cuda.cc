#include "ops/image/interpolate_tokens.h"

#include "cuda/implement.h"
#include "ops/image/interpolate_tokens.kernels.h"

namespace caracal::cuda {

void run(const InterpolateTokens& op, std::span<Tensor> out, Cuda& cuda) {
  const RowBlocks blocks = row_blocks(op.x.dtype, op.x.shape[1], {address(op.x), address(out[0])});
  cuda.launch(entry_of(kInterpolateTokens, op.x.dtype), {{unsigned(out[0].shape.rows())}, blocks.threads},
              address(op.x), address(out[0]), int(op.x.shape[1]), op.height, op.width, op.to_height, op.to_width,
              blocks.aligned);
}

}  // namespace caracal::cuda

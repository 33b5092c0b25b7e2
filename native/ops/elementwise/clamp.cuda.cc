#include "ops/elementwise/clamp.h"

#include "cuda/implement.h"
#include "ops/elementwise/clamp.kernels.h"

namespace caracal::cuda {

void run(const Clamp& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.x.shape.elements();
  const ElementBlocks blocks = element_blocks(n, vector_elements(op.x.dtype, n, {address(op.x), address(out[0])}));
  cuda.launch(entry_of(kClamp, op.x.dtype), {blocks.grid, blocks.threads}, address(op.x), address(out[0]), n,
              static_cast<float>(op.low), static_cast<float>(op.high), blocks.aligned);
}

}  // namespace caracal::cuda

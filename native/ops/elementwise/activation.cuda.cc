#include "ops/elementwise/activation.h"

#include "cuda/implement.h"
#include "ops/elementwise/activation.kernels.h"

namespace caracal::cuda {

void run(const ActivationOp& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.x.shape.elements();
  const ElementBlocks blocks = element_blocks(n, vector_elements(op.x.dtype, n, {address(op.x), address(out[0])}));
  cuda.launch(entry_of(kActivation, op.x.dtype), {blocks.grid, blocks.threads}, address(op.x), address(out[0]), n,
              op.kind, blocks.aligned);
}

}  // namespace caracal::cuda

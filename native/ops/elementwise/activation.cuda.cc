#include "ops/elementwise/activation.h"

#include "cuda/implement.h"

namespace caracal::cuda {

void run(const Activate& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.x.shape.elements();
  const ElementBlocks blocks = element_blocks(n, vector_elements(op.x.dtype, n, {address(op.x), address(out[0])}));
  cuda.launch({"norm", kernel_name("activation", op.x.dtype)}, blocks.grid, blocks.threads, 0, address(op.x),
              address(out[0]), static_cast<long long>(n), op.kind, blocks.aligned);
}

}  // namespace caracal::cuda

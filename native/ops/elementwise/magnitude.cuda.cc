#include "ops/elementwise/magnitude.h"

#include "cuda/implement.h"
#include "ops/elementwise/magnitude.kernels.h"

namespace caracal::cuda {

void run(const Magnitude& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = out[0].shape.elements();
  const ElementBlocks blocks = element_blocks(n, 1);
  cuda.launch(entry_of(kMagnitude, op.x.dtype), {blocks.grid, blocks.threads}, address(op.x), address(out[0]), n,
              int(out[0].shape[-1]));
}

}  // namespace caracal::cuda

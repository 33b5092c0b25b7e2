#include "ops/audio/snake.h"

#include "cuda/implement.h"
#include "ops/audio/snake.kernels.h"

namespace caracal::cuda {

void run(const Snake& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.x.shape.elements(), channels = op.x.shape[-1];
  const int64_t vector = vector_elements(op.x.dtype, channels, {address(op.x), address(op.alpha), address(out[0])});
  const ElementBlocks blocks = element_blocks(n, vector);
  cuda.launch(entry_of(kSnake, op.x.dtype, op.alpha.dtype), {blocks.grid, blocks.threads}, address(op.x),
              address(op.alpha), address(out[0]), n, int(channels), blocks.aligned);
}

}  // namespace caracal::cuda

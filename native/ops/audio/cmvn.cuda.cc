#include "ops/audio/cmvn.h"

#include "cuda/implement.h"
#include "ops/audio/cmvn.kernels.h"

namespace caracal::cuda {

void run(const Cmvn& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.x.shape.elements(), channels = op.x.shape[1];
  const int64_t vector = vector_elements(op.x.dtype, channels,
                                         {address(op.x), address(op.mean), address(op.inverse_std), address(out[0])});
  const ElementBlocks blocks = element_blocks(n, vector);
  cuda.launch(entry_of(kCmvn, op.x.dtype), {blocks.grid, blocks.threads}, address(op.x), op.mean.data<float>(),
              op.inverse_std.data<float>(), address(out[0]), n, int(channels), blocks.aligned);
}

}  // namespace caracal::cuda

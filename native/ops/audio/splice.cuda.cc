#include "ops/audio/splice.h"

#include "ops/audio/splice.kernels.h"
#include "ops/audio/streaming.cuda.h"

namespace caracal::cuda {

void run(const Splice& op, std::span<Tensor> out, Cuda& cuda) {
  const long long n = out[0].shape.elements(), first = (op.state ? op.first : 0) - op.left;
  const long long oldest = op.state ? -op.known : 0, newest = op.x.shape[0] - 1;
  const int64_t vector =
      vector_elements(op.x.dtype, op.x.shape[1], {address(op.x), address(op.state), address(out[0])});
  const ElementBlocks blocks = element_blocks(n, vector);
  cuda.launch(entry_of(kSplice, op.x.dtype), {blocks.grid, blocks.threads}, time_rows(op.x, op.state), address(out[0]),
              n, first, int(op.left + 1 + op.right), int(op.stride), oldest, newest, blocks.aligned);
  if (op.state) advance(cuda, *op.state, op.x);
}

}  // namespace caracal::cuda

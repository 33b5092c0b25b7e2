#include "ops/rows/cast.h"

#include "cuda/implement.h"
#include "ops/rows/cast.kernels.h"

namespace caracal::cuda {

void run(const Cast& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.x.shape.elements();
  const DType wider = dtype_bytes(op.x.dtype) > dtype_bytes(op.dtype) ? op.x.dtype : op.dtype;
  const ElementBlocks blocks = element_blocks(n, vector_elements(wider, n, {address(op.x), address(out[0])}));
  cuda.launch(entry_of(kCast, op.x.dtype, op.dtype), {blocks.grid, blocks.threads}, address(op.x), address(out[0]), n,
              blocks.aligned);
}

}  // namespace caracal::cuda

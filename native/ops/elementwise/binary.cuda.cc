#include "ops/elementwise/binary.h"

#include "cuda/implement.h"

namespace caracal::cuda {

void run(const Binary& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.a.shape.elements(), period = op.b.shape.elements();
  // n is a multiple of b's period
  const int64_t vector = vector_elements(op.a.dtype, period, {address(op.a), address(op.b), address(out[0])});
  const ElementBlocks blocks = element_blocks(n, vector);
  cuda.launch({"norm", kernel_name("binary", op.a.dtype, op.b.dtype)}, blocks.grid, blocks.threads, 0, address(op.a),
              address(op.b), address(out[0]), static_cast<long long>(n), static_cast<long long>(period), int(op.kind),
              blocks.aligned);
}

}  // namespace caracal::cuda

#include "ops/elementwise/binary.h"

#include "cuda/implement.h"
#include "ops/elementwise/binary.kernels.h"

namespace caracal::cuda {
namespace {

void run_binary(const Binary& op, BinaryKind kind, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.a.shape.elements(), period = op.b.shape.elements();
  // n is a multiple of b's period, so the period decides whether whole vectors fit.
  const int64_t vector = vector_elements(op.a.dtype, period, {address(op.a), address(op.b), address(out[0])});
  const ElementBlocks blocks = element_blocks(n, vector);
  cuda.launch(entry_of(kBinary, op.a.dtype, op.b.dtype), {blocks.grid, blocks.threads}, address(op.a), address(op.b),
              address(out[0]), n, period, kind, blocks.aligned);
}

}  // namespace

void run(const Add& op, std::span<Tensor> out, Cuda& cuda) { run_binary(op, BinaryKind::add, out, cuda); }
void run(const Mul& op, std::span<Tensor> out, Cuda& cuda) { run_binary(op, BinaryKind::mul, out, cuda); }

}  // namespace caracal::cuda

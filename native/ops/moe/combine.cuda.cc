#include "ops/moe/combine.h"

#include "cuda/implement.h"
#include "ops/moe/combine.kernels.h"

namespace caracal::cuda {

void run(const Combine& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t tokens = op.x.shape[0], columns = op.x.shape[1], k = op.weights.shape[1], rows = op.y.shape[0];
  if (out[0].shape.elements() == 0) return;
  Fault* fault = cuda.fault([k, rows](const Fault& f) { return Combine::slot_error(f.position, k, f.value, rows); });
  const int64_t vector =
      vector_elements(op.x.dtype, columns, {address(op.y), address(op.x), address(op.residual), address(out[0])});
  const CombineParameters p{.y = address(op.y),
                            .x = address(op.x),
                            .residual = address(op.residual),
                            .weights = op.weights.data<float>(),
                            .slot_of = op.slot_of.data<int>(),
                            .zero_weight = op.zero_weight.data<float>(),
                            .out = address(out[0]),
                            .rows = rows,
                            .columns = columns,
                            .picks = int(k),
                            .aligned = vector > 1};
  const int64_t blocks = divide_up(columns, kCombineThreads * vector);
  cuda.launch(entry_of(kCombine, op.x.dtype), {{unsigned(tokens), unsigned(blocks)}, kCombineThreads}, p, fault);
}

}  // namespace caracal::cuda

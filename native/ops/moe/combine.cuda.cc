#include "ops/moe/combine.h"

#include "cuda/implement.h"
#include "ops/moe/combine.kernels.h"

namespace caracal::cuda {

void run(const Combine& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t tokens = op.x.shape[0], columns = op.x.shape[1], k = op.weights.shape[1], rows = op.y.shape[0];
  if (out[0].shape.elements() == 0) return;
  Fault* fault = cuda.fault([k, rows](const Fault& f) {
    return Error(code::kIndexOutOfRange, "combine: slotOf[" + std::to_string(f.position / k) + "][" +
                                             std::to_string(f.position % k) + "] is " + std::to_string(f.value) +
                                             ", outside [-1, " + std::to_string(rows) + ")");
  });
  const int64_t vector =
      vector_elements(op.x.dtype, columns, {address(op.y), address(op.x), address(op.residual), address(out[0])});
  const CombineParameters p{.y = address(op.y),
                            .x = address(op.x),
                            .residual = address(op.residual),
                            .weights = op.weights.data<float>(),
                            .slot_of = op.slotOf.data<int>(),
                            .zero_weight = op.zeroWeight.data<float>(),
                            .out = address(out[0]),
                            .rows = rows,
                            .columns = columns,
                            .picks = int(k),
                            .aligned = vector > 1};
  constexpr int64_t kThreads = 128;  // small blocks: one token's row is then many multiprocessors'
  const int64_t each = kThreads * vector;
  cuda.launch(entry_of(kCombine, op.x.dtype), {{unsigned(tokens), unsigned(divide_up(columns, each))}, kThreads}, p,
              fault);
}

}  // namespace caracal::cuda

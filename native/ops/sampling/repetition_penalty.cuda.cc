#include "ops/sampling/repetition_penalty.h"

#include "core/math.h"
#include "cuda/implement.h"
#include "ops/sampling/repetition_penalty.kernels.h"

namespace caracal::cuda {

void run(const RepetitionPenalty& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.logits.shape[0], ids = op.logits.shape[1], window = op.history.shape[1];
  cuda.copy(address(out[0]), address(op.logits), out[0].bytes());
  Fault* fault = cuda.fault([ids](const Fault& f) { return RepetitionPenalty::no_such_id(f.position, f.value, ids); });
  const Grid grid{unsigned(rows), unsigned(divide_up(window, kPenaltyThreads))};
  cuda.launch(entry_of(kRepetitionPenalty, op.logits.dtype), {grid, kPenaltyThreads}, op.history.data<int>(), window,
              address(out[0]), ids, op.penalty, fault);
}

}  // namespace caracal::cuda

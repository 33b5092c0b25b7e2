#include "ops/sampling/repetition_penalty.h"

#include "cuda/implement.h"

namespace caracal::cuda {

void run(const RepetitionPenalty& op, std::span<Tensor> out, Cuda& cuda) {
  constexpr int64_t kThreads = 256;
  const int64_t rows = op.logits.shape[0], ids = op.logits.shape[1], window = op.history.shape[1];
  cuda.copy(address(out[0]), address(op.logits), out[0].bytes());
  Fault* fault = cuda.fault([ids](const Fault& f) { return RepetitionPenalty::no_such_id(f.value, ids); });
  const Grid grid{static_cast<unsigned>(rows), static_cast<unsigned>((window + kThreads - 1) / kThreads)};
  cuda.launch({"sampling", kernel_name("repetition_penalty", op.logits.dtype)}, grid, kThreads, 0, address(op.history),
              static_cast<long long>(window), address(out[0]), static_cast<long long>(ids), op.penalty, fault);
}

}  // namespace caracal::cuda

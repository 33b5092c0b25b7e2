#include "ops/sampling/argmax.h"

#include "ops/sampling/candidates.cuda.h"

namespace caracal::cuda {

void run(const Argmax& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.logits.shape[0];
  const BestCandidates found(cuda, op.logits, op.allowed);
  constexpr unsigned kThreads = 128;
  cuda.launch({"sampling", "argmax"}, {static_cast<unsigned>((rows * 32 + kThreads - 1) / kThreads)}, kThreads, 0,
              found.best.data(), static_cast<long long>(rows), found.ids.parts, address(out[0]));
}

}  // namespace caracal::cuda

#include "ops/sampling/argmax.h"

#include "ops/sampling/argmax.kernels.h"
#include "ops/sampling/candidates.cuda.h"

namespace caracal::cuda {

void run(const Argmax& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.logits.shape[0];
  const BestCandidates candidates(cuda, op.logits, op.allowed);
  cuda.launch(entry_of(kArgmax), {{unsigned(divide_up(rows, kArgmaxRows))}, kArgmaxThreads}, candidates.best.data(),
              rows, candidates.ids.parts, out[0].data<int>());
}

}  // namespace caracal::cuda

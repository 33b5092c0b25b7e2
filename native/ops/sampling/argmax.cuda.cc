#include "ops/sampling/argmax.h"

#include "ops/sampling/argmax.kernels.h"
#include "ops/sampling/candidates.cuda.h"

namespace caracal::cuda {

void run(const Argmax& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.logits.shape[0];
  const BestCandidates found(cuda, op.logits, op.allowed);
  constexpr unsigned kThreads = 128;
  cuda.launch(entry_of(kArgmax), {{static_cast<unsigned>((rows * 32 + kThreads - 1) / kThreads)}, kThreads},
              found.best.data(), rows, found.ids.parts, out[0].data<int>());
}

}  // namespace caracal::cuda

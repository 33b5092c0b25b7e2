#include "ops/audio/fold_weight_norm.h"

#include "cuda/implement.h"
#include "ops/audio/fold_weight_norm.kernels.h"

namespace caracal::cuda {

void run(const FoldWeightNorm& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.v.shape[0];
  const long long n = rows ? op.v.shape.elements() / rows : 0;
  cuda.launch(entry_of(kFoldWeightNorm), {{unsigned(rows)}, 256}, op.v.data<float>(), op.g.data<float>(),
              out[0].data<float>(), n);
}

}  // namespace caracal::cuda

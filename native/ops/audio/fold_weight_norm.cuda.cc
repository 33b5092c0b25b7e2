#include "ops/audio/fold_weight_norm.h"

#include "cuda/implement.h"

namespace caracal::cuda {

void run(const FoldWeightNorm& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.v.shape[0];
  const long long n = rows ? op.v.shape.elements() / rows : 0;
  cuda.launch({"audio", "fold_weight_norm"}, {unsigned(rows)}, 256, 0, address(op.v), address(op.g), address(out[0]),
              n);
}

}  // namespace caracal::cuda

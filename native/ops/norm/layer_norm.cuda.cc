#include "ops/norm/layer_norm.cuda.h"

namespace caracal::cuda {

void run(const LayerNorm& op, std::span<Tensor> out, Cuda& cuda) { launch_layer_norm(cuda, op, address(out[0])); }

}  // namespace caracal::cuda

#include "ops/audio/pack_conv1d.h"

#include "ops/audio/pack_conv.cuda.h"

namespace caracal::cuda {

void run(const PackConv1d& op, std::span<Tensor> out, Cuda& cuda) { pack_conv1d(cuda, op.w, address(out[0])); }

}  // namespace caracal::cuda

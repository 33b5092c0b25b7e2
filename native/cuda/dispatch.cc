#include "cuda/dispatch.h"

namespace caracal {

// Each ops/**/*.cuda.cc defines `run` for its operation.
namespace cuda {
#define CARACAL_DECLARE(Op) void run(const Op&, std::span<Tensor>, Cuda&);
CARACAL_OPS(CARACAL_DECLARE)
#undef CARACAL_DECLARE
}  // namespace cuda

#define CARACAL_DISPATCH(Op)                                                \
  void cuda_run(CudaDevice& device, const Op& op, std::span<Tensor> out) {  \
    device.enqueue(op, out, [&](Cuda& cuda) { cuda::run(op, out, cuda); }); \
  }
CARACAL_OPS(CARACAL_DISPATCH)
#undef CARACAL_DISPATCH

}  // namespace caracal

#pragma once
#include <span>

#include "cuda/cuda_device.h"
#include "generated/operations.h"

namespace caracal {

// Puts an operation's kernels on the device's stream. Outputs are materialised, inputs are sound.
#define CARACAL_DECLARE(Op) void cuda_run(CudaDevice& device, const Op& op, std::span<Tensor> out);
CARACAL_OPS(CARACAL_DECLARE)
#undef CARACAL_DECLARE

}  // namespace caracal

#pragma once
#include <span>

#include "cpu/cpu_device.h"
#include "generated/operations.h"

namespace caracal {

// Runs an operation with the device's instruction set. Outputs are materialised, inputs are sound.
#define CARACAL_DECLARE(Op) void cpu_run(CpuDevice& device, const Op& op, std::span<Tensor> out);
CARACAL_OPS(CARACAL_DECLARE)
#undef CARACAL_DECLARE

}  // namespace caracal

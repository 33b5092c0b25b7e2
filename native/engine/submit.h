#pragma once
// Tensors and operations on their way to a device's queue.
#include <functional>
#include <memory>
#include <vector>

#include "core/operation.h"

namespace caracal {

// A tensor without memory: it is allocated when the first job that writes to it runs.
// @throws SHAPE_MISMATCH, OUT_OF_MEMORY when the device can never hold it
Tensor new_tensor(Device& device, const OutputSpec& spec);

// Checks an operation, makes its outputs, and puts it on the queue of the device that its tensors are on, or on the
// graph that is being captured there.
// @throws what the contract's check() does; DEVICE_MISMATCH
std::vector<Tensor> submit(std::unique_ptr<const Operation> op);

// A job that makes a tensor's contents with fill(); what that throws becomes the tensor's fault.
Recording::Job filling(const Tensor& t, std::function<void()> fill);

}  // namespace caracal

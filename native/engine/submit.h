#pragma once
// Creates tensors and puts operations on the queues of devices.
#include <functional>
#include <memory>
#include <vector>

#include "core/operation.h"

namespace caracal {

// Creates a tensor whose memory is allocated when the first job that writes it runs.
// @throws SHAPE_MISMATCH for too many elements, OUT_OF_MEMORY if the device can never hold the tensor
Tensor new_tensor(Device& device, const OutputSpec& spec);

// Checks an operation, creates its outputs, and puts it on the queue of its tensors' device, or into the graph that is
// being captured there.
// @throws the errors of the contract's check(); DEVICE_MISMATCH; INVALID_ARGUMENT if it writes a read-only tensor
std::vector<Tensor> submit(std::shared_ptr<const Operation> op);

// Returns a job that writes a tensor's contents with fill(), whose error becomes the tensor's fault.
Recording::Job filling(const Tensor& t, std::function<void()> fill);

}  // namespace caracal

#include "cuda/cuda_graph.h"

namespace caracal {

CudaGraph::CudaGraph(std::shared_ptr<CudaDevice> device, Recording recording)
    : device_(std::move(device)), recording_(std::move(recording)) {}

CudaGraph::~CudaGraph() {
  if (log_) device_->release_graph(executable_, pools_);
}

std::shared_ptr<const Error> CudaGraph::fault_of_inputs() const {
  for (const auto& input : recording_.inputs)
    if (input->fault) return input->fault;
  return nullptr;
}

void CudaGraph::fail(const std::shared_ptr<const Error>& fault) {
  for (const auto& output : recording_.outputs)
    if (const auto storage = output.lock()) storage->fault = fault;
}

// Dropping each operation after its capture also drops tensors that no later one needs, so their memory is reused.
void CudaGraph::capture() {
  if (!log_) {
    pools_ = device_->add_pools();
    log_ = std::make_shared<OperationLog>(device_->driver(), recording_.jobs.size());
  }
  executable_ = device_->capture(pools_, *log_, [this] {
    while (!recording_.jobs.empty()) {
      const Recording::Job job = std::move(recording_.jobs.front());
      recording_.jobs.pop_front();
      if (const auto fault = job()) throw *fault;
    }
  });
}

void CudaGraph::replay() {
  try {
    if (broken_) return fail(broken_);
    if (log_) device_->await_checks(*log_);
    if (const auto fault = fault_of_inputs()) return fail(fault);
    for (const auto& input : recording_.inputs) materialize(*input);
    if (!executable_) {
      try {
        capture();
      } catch (...) {
        broken_ = current_fault("graph");  // a retry is impossible: some of the operations are already dropped
        throw;
      }
    }
    device_->launch(executable_, log_);
    for (const auto& output : recording_.outputs)
      if (const auto storage = output.lock()) storage->fault.reset();
  } catch (...) {
    fail(current_fault("graph"));
  }
}

}  // namespace caracal

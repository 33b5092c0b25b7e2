#pragma once
#include "core/graph.h"
#include "cuda/cuda_device.h"

namespace caracal {

// Recorded operations as a CUDA graph, which is captured at the first replay and launched at every replay. The memory
// of its tensors comes from pools of its own, so other operations never reuse it.
class CudaGraph final : public Graph {
 public:
  CudaGraph(std::shared_ptr<CudaDevice> device, Recording recording);
  ~CudaGraph() override;
  void replay() override;

 private:
  void capture();
  std::shared_ptr<const Error> fault_of_inputs() const;
  void fail(const std::shared_ptr<const Error>& fault);

  const std::shared_ptr<CudaDevice> device_;
  Recording recording_;
  CudaDevice::Pools pools_;
  std::shared_ptr<OperationLog> log_;
  CUgraphExec executable_ = nullptr;
  std::shared_ptr<const Error> broken_;  // why it could not be captured
};

}  // namespace caracal

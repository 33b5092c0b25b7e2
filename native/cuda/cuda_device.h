#pragma once
#include <span>

#include "core/device.h"
#include "core/host_memory.h"
#include "core/job_queue.h"
#include "core/operation.h"
#include "cuda/cuda.h"
#include "cuda/fork.h"
#include "cuda/operation_log.h"
#include "cuda/staging.h"

namespace caracal {

// The CUDA backend. Jobs put kernels on a stream without waiting for them; only reading a tensor waits. Released memory
// can therefore be reused at once: its next user comes later on the same stream.
class CudaDevice final : public Device {
 public:
  struct Options {
    int ordinal = 0;
    size_t memory_limit = SIZE_MAX;  // bytes
    bool cache_memory = true;        // false: allocates the exact sizes, and frees them at once
  };
  // @throws the errors of Driver::get(); INVALID_ARGUMENT for an unknown ordinal; ARCH_UNSUPPORTED; UNSUPPORTED for a
  // build without kernels
  static std::shared_ptr<CudaDevice> open(const Options& options);
  ~CudaDevice() override;

  Backend backend() const override { return Backend::cuda; }
  std::byte* allocate(size_t bytes) override;
  void release(std::byte* data, size_t bytes) noexcept override { allocator_.release(data, bytes); }
  Allocator& host_memory() override { return host_allocator_; }
  MemoryStatistics memory() const override { return allocator_.statistics(); }
  size_t capacity() const override { return capacity_; }
  using Device::submit;
  void submit(Jobs jobs) override;
  void refuse_jobs() noexcept override { queue_.refuse(); }
  void write(const Tensor& t, const std::byte* from) override;
  void clear(const Tensor& t) override;
  void read(const Tensor& t, std::byte* to) override;
  void synchronize() override { wait(); }
  void begin_fork() noexcept override;
  void end_fork() noexcept override;
  std::shared_ptr<Graph> make_graph(Recording recording) override;

  const GpuProperties& properties() const { return properties_; }

  const Driver& driver() const { return driver_; }

  // Calls run(cuda), which puts the operation's kernels on the stream. Faults of its data, or inherited from its
  // inputs, are known at the next wait and then become the faults of its outputs.
  void enqueue(const Operation& op, std::span<Tensor> out, const std::function<void(Cuda&)>& run);

  // --- for graphs ----------------------------------------------------------------------------------------------------

  // The memory of operations on the first stream, and of those on the fork.
  struct Pools {
    Allocator::Pool first = 0, fork = 0;
  };
  Pools add_pools() { return {allocator_.add_pool(), allocator_.add_pool()}; }
  // Captures the work that `enqueue` puts on the streams as a graph. Waiting inside `enqueue` is an error. An open fork
  // ends here, and at a launch.
  CUgraphExec capture(const Pools& pools, OperationLog& log, const std::function<void()>& enqueue);
  // Called before a graph is launched again. Each of its operations has one Fault, so one that is about the previous
  // launch must be read first.
  void await_checks(const OperationLog& graph);
  void launch(CUgraphExec graph, const std::shared_ptr<OperationLog>& log);
  void release_graph(CUgraphExec graph, const Pools& pools) noexcept;

 private:
  CudaDevice(const Driver& driver, CUdevice device, const Options& options);
  void stop() override;
  Cuda::Lane lane() const;
  void begin();
  void make_room() noexcept;
  void join() { fork_.join(stream_); }
  void leave_fork();
  void wait();
  [[noreturn]] void lose(CUresult result);

  static constexpr size_t kChecks = 256;  // operations that may check their data between two waits

  const Driver& driver_;
  const GpuProperties properties_;
  const size_t capacity_;
  HostMemory host_memory_;
  Allocator host_allocator_{host_memory_, HostMemory::limits(memory_limit())};
  Context context_;
  GpuMemory memory_;
  Allocator allocator_;
  Stream stream_;
  Fork fork_;
  const Pools own_pools_;
  OperationLog own_log_;
  // While a graph is captured, these are the graph's.
  const Pools* pools_ = &own_pools_;
  OperationLog* log_ = &own_log_;
  Staging staging_;
  Modules modules_;
  Cuda cuda_;
  std::shared_ptr<const Error> lost_;  // why the context can no longer be used
  JobQueue queue_;
};

}  // namespace caracal

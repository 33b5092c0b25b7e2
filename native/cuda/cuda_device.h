#pragma once
#include <deque>
#include <span>
#include <vector>

#include "core/device.h"
#include "core/job_queue.h"
#include "core/op.h"
#include "cuda/cuda.h"
#include "cuda/staging.h"

namespace caracal {

// The CUDA backend. Jobs put kernels on one stream and do not wait for them; whoever reads a tensor does. So memory
// that is released may be given out again at once: its next user comes later on the same stream.
class CudaDevice final : public Device {
 public:
  struct Options {
    int ordinal = 0;
    size_t memory_limit = SIZE_MAX;  // bytes
  };
  // @throws what Driver::get() does; INVALID_ARGUMENT for an ordinal that is not there; ARCH_UNSUPPORTED
  static std::shared_ptr<CudaDevice> open(const Options& options);
  ~CudaDevice() override;

  Backend backend() const override { return Backend::cuda; }
  std::byte* allocate(size_t bytes) override;
  void release(std::byte* data, size_t bytes) noexcept override { allocator_.release(data, bytes); }
  MemoryStatistics memory() const override { return allocator_.statistics(); }
  size_t capacity() const override { return capacity_; }
  void submit(std::function<void()> job) override { queue_.submit(std::move(job)); }
  void shutdown() override;
  void write(const Tensor& t, const std::byte* from) override;
  void clear(const Tensor& t) override;
  void read(const Tensor& t, std::byte* to) override;
  void synchronize() override { wait(); }

  const GpuProperties& properties() const { return properties_; }

  // run(cuda) puts the operation's kernels on the stream. What is wrong with its data, or was with what it reads, is
  // known at the next wait, and becomes the fault of its outputs then.
  template <class Op, class Run>
  void enqueue(const Op& op, std::span<Tensor> out, Run&& run) {
    begin();
    run(cuda_);
    Enqueued done{Op::kName, {}, {}, cuda_.take_check()};
    faults_used_ += done.check.has_value();
    for_each_tensor(op, [&](const Tensor& t, const char*, Access access) {
      done.in.push_back(t.storage);
      if (access == Access::inout) done.out.push_back(t.storage);
    });
    for (const Tensor& t : out) done.out.push_back(t.storage);
    log_.push_back(std::move(done));
  }

 private:
  struct Enqueued {
    const char* op;
    std::vector<std::weak_ptr<Storage>> in, out;
    std::optional<Cuda::Check> check;
  };
  CudaDevice(const Driver& driver, CUdevice device, const Options& options);
  void begin();
  void wait();
  void settle();
  [[noreturn]] void lose(CUresult result);

  static constexpr size_t kFaults = 256, kLongestLog = 4096;

  const Driver& driver_;
  const GpuProperties properties_;
  const size_t capacity_;
  Context context_;
  GpuMemory memory_;
  Allocator allocator_;
  Stream stream_;
  PinnedMemory faults_;
  size_t faults_used_ = 0;
  Staging staging_;
  Modules modules_;
  Cuda cuda_;
  std::deque<Enqueued> log_;           // since the last wait
  std::shared_ptr<const Error> lost_;  // why the context is of no use any more
  JobQueue queue_;
};

}  // namespace caracal

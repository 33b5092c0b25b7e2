#pragma once
#include "core/device.h"
#include "core/host_memory.h"
#include "cpu/cpu.h"
#include "cpu/isa.h"

namespace caracal {

// The CPU backend. Operations run in order on a thread of the device, which divides each one among a pool of threads.
class CpuDevice final : public Device {
 public:
  static std::shared_ptr<CpuDevice> open(int threads, Isa isa);
  ~CpuDevice() override { shutdown(); }

  Backend backend() const override { return Backend::cpu; }
  std::byte* allocate(size_t bytes) override { return allocator_.allocate(bytes); }
  void release(std::byte* data, size_t bytes) noexcept override { allocator_.release(data, bytes); }
  Allocator& host_memory() override { return allocator_; }
  MemoryStatistics memory() const override { return allocator_.statistics(); }
  size_t capacity() const override { return capacity_; }
  using Device::submit;
  void submit(Jobs jobs) override { queue_.submit(std::move(jobs)); }
  void refuse_jobs() noexcept override { queue_.refuse(); }
  void write(const Tensor& t, const std::byte* from) override;
  void clear(const Tensor& t) override;
  void read(const Tensor& t, std::byte* to) override;
  void synchronize() override {}
  std::shared_ptr<Graph> make_graph(Recording recording) override;

  Isa isa() const { return isa_; }
  int threads() const { return pool_.threads(); }
  Cpu& cpu() { return cpu_; }  // used only by jobs

 private:
  CpuDevice(int threads, Isa isa);
  void stop() override;

  const Isa isa_;
  const size_t capacity_;
  HostMemory memory_;
  Allocator allocator_{memory_, HostMemory::limits(capacity_)};
  ThreadPool pool_;
  Cpu cpu_;
  JobQueue queue_;
};

}  // namespace caracal

#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "core/device.h"
#include "cpu/cpu.h"
#include "cpu/isa.h"

namespace caracal {

// The CPU backend: operations run in order on a thread of its own, which shares each one out over a pool.
class CpuDevice final : public Device {
 public:
  static std::shared_ptr<CpuDevice> open(int threads, Isa isa);
  ~CpuDevice() override;

  Backend backend() const override { return Backend::cpu; }
  std::byte* allocate(size_t bytes) override { return allocator_.allocate(bytes); }
  void release(std::byte* data, size_t bytes) noexcept override { allocator_.release(data, bytes); }
  size_t capacity() const override { return capacity_; }
  void submit(std::function<void()> job) override;
  void shutdown() override;

  Isa isa() const { return isa_; }
  int threads() const { return pool_.threads(); }
  Allocator& allocator() { return allocator_; }
  Cpu& cpu() { return cpu_; }  // only from jobs

 private:
  // Outlives the device when the last tensor is dropped by a job, on the queue's own thread.
  struct Queue {
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<std::function<void()>> jobs;
    bool stopped = false;
    void loop();
  };
  CpuDevice(int threads, Isa isa);

  const Isa isa_;
  const size_t capacity_;
  Allocator allocator_;
  ThreadPool pool_;
  Cpu cpu_;
  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
  std::thread thread_;
};

}  // namespace caracal

#include "cpu/cpu_device.h"

namespace caracal {

std::shared_ptr<CpuDevice> CpuDevice::open(int threads, Isa isa) {
  return std::shared_ptr<CpuDevice>(new CpuDevice(threads, isa));
}

CpuDevice::CpuDevice(int threads, Isa isa)
    : isa_(isa),
      capacity_(memory_limit()),
      pool_(threads),
      cpu_(allocator_, pool_),
      thread_([queue = queue_] { queue->loop(); }) {}

CpuDevice::~CpuDevice() { shutdown(); }

void CpuDevice::submit(std::function<void()> job) {
  {
    std::lock_guard lock(queue_->mutex);
    if (queue_->stopped) throw Error(code::kDisposed, "the device was disposed: open another with Device.open()");
    queue_->jobs.push_back(std::move(job));
  }
  queue_->wake.notify_one();
}

void CpuDevice::shutdown() {
  std::deque<std::function<void()>> dropped;  // destroyed after the lock: a job may hold the last handle of a tensor
  {
    std::lock_guard lock(queue_->mutex);
    queue_->stopped = true;
    dropped.swap(queue_->jobs);
  }
  queue_->wake.notify_one();
  if (!thread_.joinable()) return;
  if (thread_.get_id() == std::this_thread::get_id())
    thread_.detach();
  else
    thread_.join();
  pool_.stop();
}

void CpuDevice::Queue::loop() {
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex);
      wake.wait(lock, [this] { return stopped || !jobs.empty(); });
      if (stopped) return;
      job = std::move(jobs.front());
      jobs.pop_front();
    }
    job();
  }
}

}  // namespace caracal

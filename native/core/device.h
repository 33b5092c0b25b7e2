#pragma once
#include <functional>
#include <memory>
#include <mutex>

#include "core/allocator.h"
#include "core/graph.h"
#include "core/job_queue.h"
#include "core/tensor.h"

namespace caracal {

// A backend's memory and its in-order queue. Jobs run one after another on a thread that is never the event loop.
class Device : public std::enable_shared_from_this<Device> {
 public:
  enum class Backend { cpu, cuda };
  virtual ~Device() = default;
  virtual Backend backend() const = 0;
  virtual std::byte* allocate(size_t bytes) = 0;  // called only by jobs; throws OUT_OF_MEMORY
  virtual void release(std::byte* data, size_t bytes) noexcept = 0;
  // The process's own memory, for values on their way to the device. Used on any thread.
  virtual Allocator& host_memory() = 0;
  virtual MemoryStatistics memory() const = 0;
  virtual size_t capacity() const = 0;  // bytes of the largest possible tensor
  virtual void submit(Jobs jobs) = 0;
  void submit(std::function<void()> job) {
    Jobs jobs;
    jobs.push_back(std::move(job));
    submit(std::move(jobs));
  }
  // No job begins afterwards; submit() throws.
  virtual void refuse_jobs() noexcept = 0;
  // Drops the jobs that have not begun and waits for the running one. No job runs afterwards. Any thread may call it.
  void shutdown() {
    std::lock_guard lock(closing_);
    stop();
  }

  // Called only by jobs, for storage that has memory. `from` and `to` are host memory and need not outlive the call.
  virtual void write(const Tensor& t, const std::byte* from) = 0;
  virtual void clear(const Tensor& t) = 0;
  // Waits for the operations that compute the tensor. @throws the error of one of them
  virtual void read(const Tensor& t, std::byte* to) = 0;
  virtual void synchronize() = 0;  // waits for all earlier operations

  // Called only by jobs. Operations between the two may run in parallel with later ones on a second stream.
  virtual void begin_fork() noexcept {}
  virtual void end_fork() noexcept {}

  virtual std::shared_ptr<Graph> make_graph(Recording recording) = 0;
  std::unique_ptr<Recording> recording;  // if set, operations go there; used only on the event loop

 private:
  virtual void stop() = 0;
  std::mutex closing_;
};

inline void free_memory(Storage& s) noexcept {
  if (s.data != nullptr && s.borrowed == nullptr) s.device->release(s.data, s.bytes);
  s.data = nullptr;
}

inline Storage::~Storage() { free_memory(*this); }

// Called by every job before it uses a storage.
inline void materialize(Storage& s) {
  if (s.borrowed) s.borrowed->prepare();
  if (s.data == nullptr && s.bytes > 0) s.data = s.device->allocate(s.bytes);
}

}  // namespace caracal

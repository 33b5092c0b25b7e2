#pragma once
// The properties of a GPU, and owners of the driver's objects: context, memory, streams, events.
#include <string>

#include "core/allocator.h"
#include "cuda/driver.h"

namespace caracal {

struct GpuProperties {
  std::string name;
  int major = 0, minor = 0;  // of the compute capability
  int sms = 0;               // streaming multiprocessors
  size_t memory = 0;         // bytes
  size_t shared_bytes = 0;   // the maximum shared memory of a block

  static GpuProperties of(const Driver& driver, CUdevice device);
  std::string capability() const { return std::to_string(major) + "." + std::to_string(minor); }  // 9.0
};

// Retains a GPU's primary context. Current on every thread that called make_current().
class Context {
 public:
  Context(const Driver& driver, CUdevice device);
  ~Context();
  Context(const Context&) = delete;
  void make_current() const { driver_.check(driver_.cuCtxSetCurrent(context_), "cuCtxSetCurrent"); }
  // Returns false if the driver is shutting down; its objects are then already gone.
  bool try_make_current() const noexcept { return driver_.cuCtxSetCurrent(context_) == CUDA_SUCCESS; }

 private:
  const Driver& driver_;
  const CUdevice device_;
  CUcontext context_ = nullptr;
};

class GpuMemory final : public MemorySource {
 public:
  GpuMemory(const Driver& driver, const Context& context) : driver_(driver), context_(context) {}
  std::byte* take(size_t bytes) override;
  void give_back(std::byte* data, size_t bytes) noexcept override;
  std::string free_memory() const override;

 private:
  const Driver& driver_;
  const Context& context_;
};

class Stream {
 public:
  explicit Stream(const Driver& driver);
  ~Stream() { driver_.cuStreamDestroy_v2(stream_); }
  Stream(const Stream&) = delete;
  operator CUstream() const { return stream_; }

 private:
  const Driver& driver_;
  CUstream stream_ = nullptr;
};

// A point in a stream's order.
class Event {
 public:
  explicit Event(const Driver& driver, unsigned flags = CU_EVENT_DISABLE_TIMING);
  ~Event() { driver_.cuEventDestroy_v2(event_); }
  Event(const Event&) = delete;
  void record(CUstream stream) { driver_.check(driver_.cuEventRecord(event_, stream), "cuEventRecord"); }
  // Makes all later work on `stream` wait for the recorded point.
  void hold_up(CUstream stream) { driver_.check(driver_.cuStreamWaitEvent(stream, event_, 0), "cuStreamWaitEvent"); }
  void wait() { driver_.check(driver_.cuEventSynchronize(event_), "cuEventSynchronize"); }
  // Both events must have been created with CU_EVENT_DEFAULT, which records times, and waited for.
  float milliseconds_since(const Event& begin) const {
    float ms = 0;
    driver_.check(driver_.cuEventElapsedTime(&ms, begin.event_, event_), "cuEventElapsedTime");
    return ms;
  }

 private:
  const Driver& driver_;
  CUevent event_ = nullptr;
};

// Host memory that the GPU can access.
class PinnedMemory {
 public:
  PinnedMemory(const Driver& driver, size_t bytes);
  ~PinnedMemory() { driver_.cuMemFreeHost(data_); }
  PinnedMemory(const PinnedMemory&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  const Driver& driver_;
  void* data_ = nullptr;
};

}  // namespace caracal

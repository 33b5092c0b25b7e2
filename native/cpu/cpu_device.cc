#include "cpu/cpu_device.h"

#include <cstring>

namespace caracal {

std::shared_ptr<CpuDevice> CpuDevice::open(int threads, Isa isa) {
  return std::shared_ptr<CpuDevice>(new CpuDevice(threads, isa));
}

CpuDevice::CpuDevice(int threads, Isa isa)
    : isa_(isa), capacity_(memory_limit()), pool_(threads), cpu_(allocator_, pool_) {}

void CpuDevice::write(const Tensor& t, const std::byte* from) {
  if (t.bytes() > 0) std::memcpy(t.data<std::byte>(), from, t.bytes());
}

void CpuDevice::clear(const Tensor& t) {
  if (t.bytes() > 0) std::memset(t.data<std::byte>(), 0, t.bytes());
}

void CpuDevice::read(const Tensor& t, std::byte* to) {
  if (t.storage->fault) throw *t.storage->fault;
  if (t.bytes() > 0) std::memcpy(to, t.data<std::byte>(), t.bytes());
  if (const auto lost = t.storage->lost()) throw *lost;
}

std::shared_ptr<Graph> CpuDevice::make_graph(Recording recording) {
  struct JobList final : Graph {
    explicit JobList(Recording r) : recording(std::move(r)) {}
    void replay() override {
      for (const Recording::Job& job : recording.jobs) job();
    }
    const Recording recording;
  };
  return std::make_shared<JobList>(std::move(recording));
}

void CpuDevice::stop() {
  queue_.stop();
  pool_.stop();
}

}  // namespace caracal

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

// Temporaries, which JavaScript holds no handle of, have memory only while they are used, as when operations are queued
// one by one: the next ones find it in a cache of the processor.
std::shared_ptr<Graph> CpuDevice::make_graph(Recording recording) {
  struct JobList final : Graph {
    explicit JobList(Recording r) : recording(std::move(r)), done(recording.jobs.size()) {
      for (const auto& [weak, job] : recording.last_uses)
        if (const auto storage = weak.lock(); storage && storage->handles == 0) done[job].push_back(storage);
    }
    void replay() override {
      for (size_t i = 0; i < done.size(); i++) {
        recording.jobs[i]();
        for (const auto& storage : done[i]) free_memory(*storage);
      }
    }
    const Recording recording;
    std::vector<std::vector<std::shared_ptr<Storage>>> done;  // the temporaries that nothing after a job uses
  };
  return std::make_shared<JobList>(std::move(recording));
}

void CpuDevice::stop() {
  queue_.stop();
  pool_.stop();
}

}  // namespace caracal

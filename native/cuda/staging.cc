#include "cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace caracal {

Staging::Staging(const Driver& driver, CUstream stream) : driver_(driver), stream_(stream) {}

Staging::~Staging() {
  for (Buffer& b : buffers_)
    if (b.done) driver_.cuEventDestroy_v2(b.done);
}

// Made when they are first needed: a device that only waits needs none.
Staging::Buffer& Staging::next() {
  Buffer& buffer = buffers_[turn_++ % buffers_.size()];
  if (!buffer.memory) {
    buffer.memory = std::make_unique<PinnedMemory>(driver_, kBytes);
    driver_.check(driver_.cuEventCreate(&buffer.done, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  } else {
    driver_.check(driver_.cuEventSynchronize(buffer.done), "cuEventSynchronize");
  }
  return buffer;
}

void Staging::upload(std::byte* to, const std::byte* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += kBytes) {
    const size_t n = std::min(kBytes, bytes - at);
    Buffer& buffer = next();
    std::memcpy(buffer.memory->data(), from + at, n);
    const auto target = reinterpret_cast<CUdeviceptr>(to + at);
    driver_.check(driver_.cuMemcpyHtoDAsync_v2(target, buffer.memory->data(), n, stream_), "cuMemcpyHtoDAsync");
    driver_.check(driver_.cuEventRecord(buffer.done, stream_), "cuEventRecord");
  }
}

void Staging::download(std::byte* to, const std::byte* from, size_t bytes) {
  Buffer* before = nullptr;  // is on its way to at - kBytes
  for (size_t at = 0; at < bytes + kBytes; at += kBytes) {
    Buffer* now = nullptr;
    if (at < bytes) {
      now = &next();
      const auto source = reinterpret_cast<CUdeviceptr>(from + at);
      driver_.check(driver_.cuMemcpyDtoHAsync_v2(now->memory->data(), source, std::min(kBytes, bytes - at), stream_),
                    "cuMemcpyDtoHAsync");
      driver_.check(driver_.cuEventRecord(now->done, stream_), "cuEventRecord");
    }
    if (before) {
      driver_.check(driver_.cuEventSynchronize(before->done), "cuEventSynchronize");
      std::memcpy(to + (at - kBytes), before->memory->data(), std::min(kBytes, bytes - (at - kBytes)));
    }
    before = now;
  }
}

}  // namespace caracal

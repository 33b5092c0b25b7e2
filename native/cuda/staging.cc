#include "cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace caracal {

Staging::Buffer& Staging::next() {
  std::unique_ptr<Buffer>& buffer = buffers_[turn_++ % buffers_.size()];
  if (buffer)
    buffer->done.wait();
  else
    buffer = std::make_unique<Buffer>(driver_);
  return *buffer;
}

void Staging::upload(std::byte* to, const std::byte* from, size_t bytes, CUstream stream) {
  for (size_t at = 0; at < bytes; at += kBytes) {
    const size_t n = std::min(kBytes, bytes - at);
    Buffer& buffer = next();
    std::memcpy(buffer.memory.data(), from + at, n);
    const auto target = reinterpret_cast<CUdeviceptr>(to + at);
    driver_.check(driver_.cuMemcpyHtoDAsync_v2(target, buffer.memory.data(), n, stream), "cuMemcpyHtoDAsync");
    buffer.done.record(stream);
  }
}

void Staging::download(std::byte* to, const std::byte* from, size_t bytes, CUstream stream) {
  Buffer* previous = nullptr;  // receives the bytes from at - kBytes on
  for (size_t at = 0; at < bytes + kBytes; at += kBytes) {
    Buffer* current = nullptr;
    if (at < bytes) {
      current = &next();
      const auto source = reinterpret_cast<CUdeviceptr>(from + at);
      driver_.check(driver_.cuMemcpyDtoHAsync_v2(current->memory.data(), source, std::min(kBytes, bytes - at), stream),
                    "cuMemcpyDtoHAsync");
      current->done.record(stream);
    }
    if (previous) {
      previous->done.wait();
      std::memcpy(to + (at - kBytes), previous->memory.data(), std::min(kBytes, bytes - (at - kBytes)));
    }
    previous = current;
  }
}

}  // namespace caracal

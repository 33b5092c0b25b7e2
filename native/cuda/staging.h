#pragma once
#include <array>
#include <memory>

#include "cuda/gpu.h"

namespace caracal {

// Copies between the host and the GPU, through pinned buffers that take turns: while one is on its way, the other is
// filled.
class Staging {
 public:
  Staging(const Driver& driver, CUstream stream);
  ~Staging();
  Staging(const Staging&) = delete;

  // `from` may go when this returns; the copy itself is in the stream's order.
  void upload(std::byte* to, const std::byte* from, size_t bytes);
  // Waits for the stream.
  void download(std::byte* to, const std::byte* from, size_t bytes);

 private:
  static constexpr size_t kBytes = size_t{4} << 20;
  struct Buffer {
    std::unique_ptr<PinnedMemory> memory;
    CUevent done = nullptr;  // its last copy
  };
  Buffer& next();

  const Driver& driver_;
  const CUstream stream_;
  std::array<Buffer, 2> buffers_;
  size_t turn_ = 0;
};

}  // namespace caracal

#pragma once
#include <array>
#include <memory>

#include "cuda/gpu.h"

namespace caracal {

// Copies between the host and the GPU, through pinned buffers that take turns: while one is on its way, the other is
// filled.
class Staging {
 public:
  explicit Staging(const Driver& driver) : driver_(driver) {}
  Staging(const Staging&) = delete;

  // `from` may go when this returns; the copy itself is in the stream's order.
  void upload(std::byte* to, const std::byte* from, size_t bytes, CUstream stream);
  // Waits for the stream.
  void download(std::byte* to, const std::byte* from, size_t bytes, CUstream stream);

 private:
  static constexpr size_t kBytes = size_t{4} << 20;
  struct Buffer {
    explicit Buffer(const Driver& driver) : memory(driver, kBytes), done(driver) {}
    PinnedMemory memory;
    Event done;  // its last copy
  };
  Buffer& next();

  const Driver& driver_;
  std::array<std::unique_ptr<Buffer>, 2> buffers_;  // made when they are first needed
  size_t turn_ = 0;
};

}  // namespace caracal

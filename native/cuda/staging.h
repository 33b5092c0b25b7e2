#pragma once
#include <array>
#include <memory>

#include "cuda/gpu.h"

namespace caracal {

// Copies between host and GPU through two pinned buffers: while one is transferred, the other is filled.
class Staging {
 public:
  explicit Staging(const Driver& driver) : driver_(driver) {}
  Staging(const Staging&) = delete;

  // `from` may be freed when this returns; the transfer itself follows the order of the stream.
  void upload(std::byte* to, const std::byte* from, size_t bytes, CUstream stream);
  // Waits for the stream.
  void download(std::byte* to, const std::byte* from, size_t bytes, CUstream stream);

 private:
  static constexpr size_t kBytes = size_t{4} << 20;
  struct Buffer {
    explicit Buffer(const Driver& driver) : memory(driver, kBytes), done(driver) {}
    PinnedMemory memory;
    Event done;  // after the buffer's last transfer
  };
  Buffer& next();

  const Driver& driver_;
  std::array<std::unique_ptr<Buffer>, 2> buffers_;  // created on first use
  size_t turn_ = 0;
};

}  // namespace caracal

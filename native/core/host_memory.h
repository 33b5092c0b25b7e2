#pragma once
#include "core/allocator.h"

namespace caracal {

// 64-byte aligned memory of the process. Large blocks use huge pages.
class HostMemory final : public MemorySource {
 public:
  std::byte* take(size_t bytes) override;
  void give_back(std::byte* data, size_t bytes) noexcept override;
  // `memory` is the most that tensors may take together: beyond the physical memory, the system would end the process.
  // Under AddressSanitizer, every block has the bytes asked for and is used once, so that accesses outside of it show.
  static constexpr Allocator::Limits limits(size_t memory) {
#if defined(__SANITIZE_ADDRESS__)
    return {.largest_cached = 0, .cache_limit = 0, .limit = memory};
#else
    return {.largest_cached = size_t{64} << 20, .cache_limit = size_t{128} << 20, .limit = memory};
#endif
  }
};

// The physical memory, or the cgroup's limit if that is lower.
size_t memory_limit();

}  // namespace caracal

#pragma once
#include "core/allocator.h"

namespace caracal {

// 64-byte aligned memory of the process. Large blocks use huge pages.
class HostMemory final : public MemorySource {
 public:
  std::byte* take(size_t bytes) override;
  void give_back(std::byte* data, size_t bytes) noexcept override;
#if defined(__SANITIZE_ADDRESS__)
  // Blocks of exactly the bytes asked for, each used once, so that AddressSanitizer sees every access outside of them.
  static constexpr Allocator::Limits kLimits{.largest_cached = 0, .cache_limit = 0};
#else
  static constexpr Allocator::Limits kLimits{.largest_cached = size_t{64} << 20, .cache_limit = size_t{128} << 20};
#endif
};

// The physical memory, or the cgroup's limit if that is lower.
size_t memory_limit();

}  // namespace caracal

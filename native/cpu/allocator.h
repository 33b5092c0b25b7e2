#pragma once
#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

namespace caracal {

struct MemoryStatistics {
  size_t in_use = 0;  // bytes that tensors and temporaries hold
  size_t peak = 0;
  size_t cached = 0;  // freed and kept for the next allocation of that size
};

// 64-byte aligned memory. Freed blocks of moderate size are kept for the next allocation of the same size: a model
// asks for the same sizes again and again, and fresh pages cost more than many an operation.
class Allocator {
 public:
  ~Allocator();
  std::byte* allocate(size_t bytes);  // throws Error(OUT_OF_MEMORY)
  void release(std::byte* data, size_t bytes) noexcept;
  MemoryStatistics statistics() const;
  void trim() noexcept;  // gives everything cached back to the system

 private:
  static size_t block_bytes(size_t bytes);
  void trim_locked() noexcept;

  mutable std::mutex mutex_;
  std::map<size_t, std::vector<std::byte*>> cache_;
  MemoryStatistics statistics_;
};

// The machine's memory, or the cgroup's limit where that is lower.
size_t memory_limit();

}  // namespace caracal

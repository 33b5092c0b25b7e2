#pragma once
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace caracal {

struct MemoryStatistics {
  size_t in_use = 0;  // bytes that tensors and temporaries hold
  size_t peak = 0;
  size_t cached = 0;  // freed and kept for the next allocation of that size
};

// Where an Allocator has its memory from.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  virtual std::byte* take(size_t bytes) = 0;  // null: there is no more
  virtual void give_back(std::byte* data, size_t bytes) noexcept = 0;
  virtual std::string free_memory() const { return ""; }  // for the message that there is no more
};

// Freed blocks are kept for the next allocation of the same size: a model asks for the same sizes again and again, and
// fresh memory costs more than many an operation.
class Allocator {
 public:
  // Blocks of more than `largest_cached` bytes, and those beyond `cache_limit` in all, go back to the source at once.
  // No more than `limit` bytes are taken from it.
  struct Limits {
    size_t largest_cached = SIZE_MAX, cache_limit = SIZE_MAX, limit = SIZE_MAX;
  };
  Allocator(MemorySource& source, Limits limits) : source_(source), limits_(limits) {}
  ~Allocator();
  Allocator(const Allocator&) = delete;

  // A block goes back to the pool it was allocated for, and is given out again from there only: what runs side by side
  // must not get the other's memory before its last user has ended. Pool 0 is always there. Of others nothing goes back
  // to the source until they are dropped: a graph uses its memory whenever it is launched.
  using Pool = int;
  Pool add_pool();
  void drop_pool(Pool pool) noexcept;  // its blocks become pool 0's; nothing that uses them may still run

  std::byte* allocate(size_t bytes, Pool pool = 0);  // throws Error(OUT_OF_MEMORY)
  void release(std::byte* data, size_t bytes) noexcept;
  MemoryStatistics statistics() const;

 private:
  static size_t block_bytes(size_t bytes);
  std::byte* take(size_t bytes);
  void trim() noexcept;  // gives back what pool 0 has cached

  MemorySource& source_;
  const Limits limits_;
  mutable std::mutex mutex_;
  std::map<std::pair<Pool, size_t>, std::vector<std::byte*>> cache_;
  std::unordered_map<std::byte*, Pool> pool_of_;  // blocks in use, pool 0's left out
  Pool last_pool_ = 0;
  MemoryStatistics statistics_;
};

}  // namespace caracal

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
  size_t in_use = 0;  // bytes of tensors and temporaries
  size_t peak = 0;
  size_t cached = 0;  // freed bytes, kept for later allocations of the same size
};

// The memory that an Allocator hands out.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  virtual std::byte* take(size_t bytes) = 0;  // null if no memory is left
  virtual void give_back(std::byte* data, size_t bytes) noexcept = 0;
  virtual std::string free_memory() const { return ""; }  // for the out-of-memory message
};

// Keeps freed blocks for later allocations of the same size: a model allocates the same sizes over and over, and new
// memory takes longer than many operations.
class Allocator {
 public:
  // Blocks larger than `largest_cached` bytes, and blocks beyond a total of `cache_limit`, go back to the source at
  // once. At most `limit` bytes are taken from the source.
  struct Limits {
    size_t largest_cached = SIZE_MAX, cache_limit = SIZE_MAX, limit = SIZE_MAX;
  };
  Allocator(MemorySource& source, Limits limits) : source_(source), limits_(limits) {}
  ~Allocator();
  Allocator(const Allocator&) = delete;

  // A block returns to the pool that it was allocated from and is reused only there, so a stream never gets memory that
  // work on a parallel stream still uses. Pool 0 always exists. The blocks of other pools do not go back to the source
  // until the pool is dropped, since a graph uses its memory at every launch.
  using Pool = int;
  Pool add_pool();
  void drop_pool(Pool pool) noexcept;  // moves its blocks to pool 0; no work that uses them may be running

  std::byte* allocate(size_t bytes, Pool pool = 0);  // throws OUT_OF_MEMORY
  void release(std::byte* data, size_t bytes) noexcept;
  MemoryStatistics statistics() const;

 private:
  using Key = std::pair<Pool, size_t>;
  static size_t block_bytes(size_t bytes);
  std::byte* take(size_t bytes);
  bool keep(const Key& key, std::byte* data) noexcept;  // false if there is no memory for the cache's own list
  void trim() noexcept;                                 // gives the cached blocks of pool 0 back to the source

  MemorySource& source_;
  const Limits limits_;
  mutable std::mutex mutex_;
  std::map<Key, std::vector<std::byte*>> cache_;
  std::unordered_map<std::byte*, Pool> pool_of_;  // blocks in use, except those of pool 0
  Pool last_pool_ = 0;
  MemoryStatistics statistics_;
};

// One pool of an allocator.
struct MemoryPool {
  Allocator& allocator;
  Allocator::Pool pool = 0;
};

// Uninitialised memory for the duration of a scope, aligned like all memory of its source: to 64 bytes on the CPU, to
// 256 on the GPU.
template <class T>
class Temporary {
 public:
  Temporary(const MemoryPool& from, size_t count) : allocator_(from.allocator), bytes_(count * sizeof(T)) {
    if (bytes_ > 0) data_ = reinterpret_cast<T*>(allocator_.allocate(bytes_, from.pool));
  }
  ~Temporary() {
    if (data_) allocator_.release(reinterpret_cast<std::byte*>(data_), bytes_);
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  T* data() const { return data_; }  // null if empty
  T& operator[](size_t i) const { return data_[i]; }

 private:
  Allocator& allocator_;
  size_t bytes_;
  T* data_ = nullptr;
};

}  // namespace caracal

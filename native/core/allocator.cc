#include "core/allocator.h"

#include <algorithm>

#include "core/error.h"
#include "core/math.h"

namespace caracal {

// Rounds up, by at most 1/8, so that similar sizes (the rows of a growing sequence) share blocks. Without a cache,
// allocate() does not round, so a memory checker sees accesses past the end of a block.
size_t Allocator::block_bytes(size_t bytes) {
  size_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return round_up(bytes, step);
}

std::byte* Allocator::take(size_t bytes) {
  if (bytes > limits_.limit || statistics_.in_use + statistics_.cached > limits_.limit - bytes) return nullptr;
  return source_.take(bytes);
}

Allocator::Pool Allocator::add_pool() {
  std::lock_guard lock(mutex_);
  return ++last_pool_;
}

void Allocator::drop_pool(Pool pool) noexcept {
  std::lock_guard lock(mutex_);
  std::erase_if(pool_of_, [pool](const auto& block) { return block.second == pool; });
  for (auto it = cache_.lower_bound({pool, 0}); it != cache_.end() && it->first.first == pool; it = cache_.erase(it)) {
    const size_t size = it->first.second;
    for (std::byte* p : it->second)
      if (!keep({0, size}, p)) {
        source_.give_back(p, size);
        statistics_.cached -= size;
      }
  }
}

bool Allocator::keep(const Key& key, std::byte* data) noexcept {
  try {
    cache_[key].push_back(data);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

std::byte* Allocator::allocate(size_t bytes, Pool pool) {
  const size_t size = limits_.largest_cached == 0 ? bytes : block_bytes(bytes);
  std::lock_guard lock(mutex_);
  std::byte* p = nullptr;
  if (auto it = cache_.find({pool, size}); it != cache_.end() && !it->second.empty()) {
    p = it->second.back();
    it->second.pop_back();
    statistics_.cached -= size;
  } else {
    p = take(size);
    if (!p) {
      trim();
      p = take(size);
    }
    if (!p)
      throw Error(code::kOutOfMemory,
                  "out of memory: " + std::to_string(size) + " bytes were requested while " +
                      std::to_string(statistics_.in_use) + " are in use" + source_.free_memory(),
                  {{"bytes", static_cast<double>(size)}, {"inUse", static_cast<double>(statistics_.in_use)}});
  }
  try {
    if (pool != 0) pool_of_[p] = pool;
  } catch (...) {
    source_.give_back(p, size);
    throw;
  }
  statistics_.in_use += size;
  statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
  return p;
}

void Allocator::release(std::byte* data, size_t bytes) noexcept {
  const size_t size = limits_.largest_cached == 0 ? bytes : block_bytes(bytes);
  std::lock_guard lock(mutex_);
  statistics_.in_use -= size;
  Pool pool = 0;
  if (const auto it = pool_of_.find(data); it != pool_of_.end()) {
    pool = it->second;
    pool_of_.erase(it);
  }
  // Only pool 0 gives blocks back: a graph needs its memory at the next launch.
  if (pool == 0 && (size > limits_.largest_cached || statistics_.cached + size > limits_.cache_limit)) {
    source_.give_back(data, size);
    return;
  }
  if (keep({pool, size}, data))
    statistics_.cached += size;
  else if (pool == 0)
    source_.give_back(data, size);  // the block of a graph is not freed at all: the next launch uses it
}

MemoryStatistics Allocator::statistics() const {
  std::lock_guard lock(mutex_);
  return statistics_;
}

void Allocator::trim() noexcept {
  for (auto it = cache_.begin(); it != cache_.end() && it->first.first == 0; it = cache_.erase(it)) {
    const size_t size = it->first.second;
    for (std::byte* p : it->second) {
      source_.give_back(p, size);
      statistics_.cached -= size;
    }
  }
}

Allocator::~Allocator() {
  for (const auto& [key, blocks] : cache_)
    for (std::byte* p : blocks) source_.give_back(p, key.second);
}

}  // namespace caracal

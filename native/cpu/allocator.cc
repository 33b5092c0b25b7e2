#include "cpu/allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "core/error.h"

namespace caracal {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLargestCached = size_t{64} << 20;
constexpr size_t kCacheLimit = size_t{128} << 20;

std::byte* system_allocate(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  void* p = nullptr;
  if (posix_memalign(&p, alignment, bytes) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) madvise(p, bytes, MADV_HUGEPAGE);  // weights are read end to end: fewer TLB misses
#endif
  return static_cast<std::byte*>(p);
}

}  // namespace

// Rounded so that sizes which differ a little (rows of a growing sequence) share blocks; at most 1/8 is wasted.
size_t Allocator::block_bytes(size_t bytes) {
  size_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

Allocator::~Allocator() { trim(); }

std::byte* Allocator::allocate(size_t bytes) {
  const size_t size = block_bytes(bytes);
  std::lock_guard lock(mutex_);
  std::byte* p = nullptr;
  if (auto it = cache_.find(size); it != cache_.end() && !it->second.empty()) {
    p = it->second.back();
    it->second.pop_back();
    statistics_.cached -= size;
  } else {
    p = system_allocate(size);
    if (!p) {
      trim_locked();
      p = system_allocate(size);
    }
    if (!p)
      throw Error(code::kOutOfMemory, "out of memory: " + std::to_string(size) + " bytes were asked for while " +
                                          std::to_string(statistics_.in_use) + " are held");
  }
  statistics_.in_use += size;
  statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
  return p;
}

void Allocator::release(std::byte* data, size_t bytes) noexcept {
  const size_t size = block_bytes(bytes);
  std::lock_guard lock(mutex_);
  statistics_.in_use -= size;
  if (size > kLargestCached || statistics_.cached + size > kCacheLimit) {
    std::free(data);
    return;
  }
  cache_[size].push_back(data);
  statistics_.cached += size;
}

MemoryStatistics Allocator::statistics() const {
  std::lock_guard lock(mutex_);
  return statistics_;
}

void Allocator::trim() noexcept {
  std::lock_guard lock(mutex_);
  trim_locked();
}

void Allocator::trim_locked() noexcept {
  for (auto& [size, blocks] : cache_)
    for (std::byte* p : blocks) std::free(p);
  cache_.clear();
  statistics_.cached = 0;
}

size_t memory_limit() {
  const size_t physical = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::ifstream file("/sys/fs/cgroup/memory.max");
  size_t limit = 0;
  return file >> limit && limit < physical ? limit : physical;
}

}  // namespace caracal

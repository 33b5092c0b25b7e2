#include "core/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace caracal {

std::byte* HostMemory::take(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  void* p = nullptr;
  if (posix_memalign(&p, bytes >= kHugePage ? kHugePage : 64, bytes) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) madvise(p, bytes, MADV_HUGEPAGE);  // fewer TLB misses, since weights are read from end to end
#endif
  return static_cast<std::byte*>(p);
}

void HostMemory::give_back(std::byte* data, size_t) noexcept { std::free(data); }

size_t memory_limit() {
  const size_t physical = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::ifstream file("/sys/fs/cgroup/memory.max");
  size_t limit = 0;
  return file >> limit && limit < physical ? limit : physical;
}

}  // namespace caracal

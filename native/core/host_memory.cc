#include "core/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

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

namespace {

// SIZE_MAX without a limit, for which there is a word, or no file.
size_t read_limit(const std::string& path) {
  std::ifstream file(path);
  size_t limit = 0;
  return file >> limit ? limit : SIZE_MAX;
}

// The least limit of a cgroup and of those around it, of which each limits all that it holds. In a container only the
// innermost may be mounted, and no path is that of the cgroup then.
size_t least_limit(const std::string& mount, std::string cgroup, const char* name) {
  size_t least = read_limit(mount + name);
  while (cgroup.size() > 1 && cgroup[0] == '/') {
    least = std::min(least, read_limit(mount + cgroup + name));
    cgroup.resize(cgroup.rfind('/'));
  }
  return least;
}

}  // namespace

// A line of /proc/self/cgroup is "number:controllers:cgroup", without controllers in version 2.
size_t memory_limit() {
  const size_t physical = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t limit = std::min(physical, read_limit("/sys/fs/cgroup/memory.max"));
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t controllers = line.find(':'), cgroup = line.find(':', controllers + 1);
    if (controllers == std::string::npos || cgroup == std::string::npos) continue;
    const std::string list = "," + line.substr(controllers + 1, cgroup - controllers - 1) + ",";
    const std::string name = line.substr(cgroup + 1);
    if (list == ",,")
      limit = std::min(limit, least_limit("/sys/fs/cgroup", name, "/memory.max"));
    else if (list.find(",memory,") != std::string::npos)
      limit = std::min(limit, least_limit("/sys/fs/cgroup/memory", name, "/memory.limit_in_bytes"));
  }
  return limit;
}

}  // namespace caracal

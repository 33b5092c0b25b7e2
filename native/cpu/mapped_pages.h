#pragma once
#include <sys/mman.h>

#include "core/math.h"
#include "core/tensor.h"

namespace caracal {

// Gives back the pages of a mapped file that were only read to be packed; otherwise they would count as memory in use.
// Does nothing for a tensor that owns its memory.
CARACAL_INLINE void give_back_pages(const Tensor& t) {
  if (!t.storage->borrowed) return;
  const uintptr_t page = 4096, address = reinterpret_cast<uintptr_t>(t.data<std::byte>());
  const uintptr_t begin = round_up(address, page);
  const uintptr_t end = (address + t.bytes()) / page * page;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

// Has the system read the bytes of a mapped tensor from disk, before they are used page by page. It does so if the first
// page is not in memory; to ask for pages that are takes a tenth of the time of the product that reads them. The system
// says of other users' read-only files that they are in memory, so there it does nothing.
inline void read_ahead(const Tensor& t, const std::byte* data, size_t bytes) {
  if (!t.storage->borrowed || bytes == 0) return;
  const uintptr_t page = 4096, address = reinterpret_cast<uintptr_t>(data) / page * page;
  void* begin = reinterpret_cast<void*>(address);
  unsigned char is_resident = 1;
  if (mincore(begin, page, &is_resident) != 0 || (is_resident & 1)) return;
  madvise(begin, reinterpret_cast<uintptr_t>(data) + bytes - address, MADV_WILLNEED);
}

}  // namespace caracal

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

}  // namespace caracal

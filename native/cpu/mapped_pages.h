#pragma once
#include <sys/mman.h>

#include "core/tensor.h"

namespace caracal {

// Gives back the pages of a mapped file that were read once, to be packed, and will not be again: they would count as
// memory in use. Does nothing to a tensor with memory of its own.
CARACAL_INLINE void give_back_pages(const Tensor& t) {
  if (!t.storage->owner) return;
  const uintptr_t page = 4096;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(t.data<std::byte>()) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(t.data<std::byte>()) + t.bytes()) / page * page;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace caracal

#pragma once
// Rows of a paged cache.
#include "ops/attention/flash.kernels.h"
#include "ops/attention/mla.kernels.h"

namespace caracal {

__device__ inline long long capacity(const PagedCache& c) {
  return static_cast<long long>(c.table_width) * c.block_size;
}

// How many tokens sequence s has; none, and it is said, where that cannot be.
__device__ inline int length_of(const PagedCache& c, int s) {
  const int length = c.lengths[s];
  if (length >= 0 && length <= capacity(c)) return length;
  raise(c.fault, kLength, s, length);
  return 0;
}

// Token i of sequence s; null, and it is said, where the table names no block of the cache.
__device__ inline const void* cache_row(const PagedCache& c, int s, long long i) {
  const long long entry = static_cast<long long>(s) * c.table_width + i / c.block_size;
  const int block = c.table[entry];
  if (block < 0 || block >= c.blocks) {
    raise(c.fault, kBlock, entry, block);
    return nullptr;
  }
  const long long slot = static_cast<long long>(block) * c.block_size + i % c.block_size;
  return static_cast<const char*>(c.rows) + slot * c.width * (c.bf16 ? 2 : 4);
}

}  // namespace caracal

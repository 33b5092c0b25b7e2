#pragma once
// Access to the rows of a paged cache. Lengths and blocks are checked at each access; the CPU checks them beforehand
// (PagedSequences).
#include "ops/attention/faults.kernels.h"
#include "ops/attention/mla.kernels.h"

namespace caracal {

__device__ inline long long capacity(const PagedCache& c) {
  return static_cast<long long>(c.table_width) * c.block_size;
}

// The number of tokens of sequence s; 0, with a fault, if the block table cannot hold that many.
__device__ inline int length_of(const PagedCache& c, int s) {
  const int length = c.lengths[s];
  if (length >= 0 && length <= capacity(c)) return length;
  raise(c.fault, kBadLength, s, length);
  return 0;
}

// The cache row of token i of sequence s; null, with a fault, if its block is not in the cache.
__device__ inline const void* cache_row(const PagedCache& c, int s, long long i) {
  const long long entry = static_cast<long long>(s) * c.table_width + i / c.block_size;
  const int block = c.table[entry];
  if (block < 0 || block >= c.blocks) {
    raise(c.fault, kBadBlock, entry, block);
    return nullptr;
  }
  const long long slot = static_cast<long long>(block) * c.block_size + i % c.block_size;
  return static_cast<const char*>(c.rows) + slot * c.width * (c.bf16 ? 2 : 4);
}

}  // namespace caracal

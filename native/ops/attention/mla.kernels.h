#pragma once
// What host and device agree on about the cache and the weight of latent attention (mla.h).
#include "cuda/fault.h"

namespace caracal {

// The cache's rows and which of them a sequence has.
struct PagedCache {
  const void* rows;  // [blocks, block size, width]
  bool bf16;
  const int* table;  // [sequences, table width]
  const int* lengths;
  int blocks, block_size, table_width;
  int latent, width;
  Fault* fault;
};

struct MlaWeight {
  const void* data;     // [heads * (nope + value), latent]
  const float* scales;  // of f8e4m3
  int heads, nope, rope, value;
  bool aligned;  // its rows begin at multiples of 16 bytes, and so do the cache's
};

}  // namespace caracal

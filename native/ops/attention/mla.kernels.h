#pragma once
// The paged cache and the weight of latent attention (mla.h) as kernel parameters.
#include "core/host_device.h"
#include "cuda/fault.h"

namespace caracal {

struct PagedCache {
  const void* rows;  // [blocks, block_size, width]
  bool bf16;         // else f32
  const int* table;  // [sequences, table_width]
  const int* lengths;
  int blocks, block_size, table_width;
  int latent, width;
  Fault* fault;
};

struct MlaWeight {
  const void* data;     // [heads * head_rows(), latent]
  const float* scales;  // of f8e4m3
  int heads, nope, rope, value;
  bool aligned;  // rows of the weight and of the cache start at multiples of 16 bytes

  CARACAL_HOST_DEVICE int head_rows() const { return nope + value; }
  CARACAL_HOST_DEVICE int qk_dim() const { return nope + rope; }
};

}  // namespace caracal

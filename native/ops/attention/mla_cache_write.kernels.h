#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"
#include "ops/attention/rotation.kernels.h"

namespace caracal {

struct MlaCacheWriteParameters {
  const void* kv;      // [T, latent + rotated]
  const void* weight;  // [latent]
  void* cache;         // [rows, latent + rotated]
  const int* positions;
  const int* slots;
  Fault* fault;
  long long rows;
  int latent, rotated;
  float eps, scale;
  bool aligned;    // vectors of the cache's dtype can be moved
  bool in_shared;  // a latent fits in dynamic shared memory
  RotaryFrequencies frequencies;
};

// mla_cache_write_<kv>_<w>_<cache>
inline constexpr Kernel<MlaCacheWriteParameters> kMlaCacheWrite{"mla_cache_write"};

}  // namespace caracal

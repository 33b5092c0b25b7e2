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
  bool aligned, kept;  // kept: a row has room in shared memory
  RotaryTable table;
};

inline constexpr Kernel<MlaCacheWriteParameters> kMlaCacheWrite{"mla_cache_write"};  // mla_cache_write_<kv>_<w>_<cache>

}  // namespace caracal

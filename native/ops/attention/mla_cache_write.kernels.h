#pragma once
#include "ops/attention/rotation.kernels.h"

namespace caracal {

struct Fault;

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

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"
#include "ops/attention/rotation.kernels.h"

namespace caracal {

// Rotates and normalises q and k.
struct VitPrologueParameters {
  const void* qkv;        // [rows, 3 width]
  void* out[2];           // q and k, [rows, width]
  const void* weight[2];  // [width]
  bool weight_bf16[2];
  const int* positions;  // [rows, 2]
  int width, dim;
  float eps;
  bool aligned;    // vectors of out's dtype can be moved
  bool in_shared;  // the q or the k of a row fits in dynamic shared memory
  RotaryFrequencies frequencies;
};

inline constexpr Kernel<VitPrologueParameters> kVitPrologue{"vit_prologue"};  // vit_prologue_<qkv>_<out>

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"
#include "ops/attention/rotation.kernels.h"

namespace caracal {

// What makes of a row's q and k what attention takes.
struct VitPrologueParameters {
  const void* qkv;        // [rows, 3 width]
  void* out[2];           // q and k, [rows, width]
  const void* weight[2];  // [width]
  bool weight_bf16[2];
  const int* positions;  // [rows, 2]
  int width, dim;
  float eps;
  bool aligned, kept;  // kept: half of a row has room in shared memory
  RotaryTable table;
};

inline constexpr Kernel<VitPrologueParameters> kVitPrologue{"vit_prologue"};  // vit_prologue_<qkv>_<out>

}  // namespace caracal

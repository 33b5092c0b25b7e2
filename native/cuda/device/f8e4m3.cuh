#pragma once
#include <cstdint>

#include "cuda/device/element.cuh"

namespace caracal {

struct f8e4m3 {
  uint8_t bits;
};

// Shifted into the fields of an f32, an e4m3 code reads as its value times 2^-120, subnormals included. A NaN would read
// as 480, but packWeight refuses NaN.
__device__ inline float to_float(f8e4m3 v) {
  const uint32_t code = v.bits;
  return __uint_as_float((code & 0x80) << 24 | (code & 0x7f) << 20) * 0x1p120f;
}

}  // namespace caracal

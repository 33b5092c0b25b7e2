#pragma once
// Conversions of single f8e4m3 values, with the bits of core/dtype.h.
#include "cuda/device/f8e4m3.cuh"

namespace caracal {

// Unlike to_float, which is for packed weights, this keeps NaN.
__device__ inline float to_float_or_nan(f8e4m3 v) {
  const uint32_t sign = (v.bits & 0x80u) << 24, magnitude = v.bits & 0x7fu;
  if (magnitude == 0x7f) return __uint_as_float(sign | 0x7fc00000);
  return __uint_as_float(sign | magnitude << 20) * 0x1p120f;
}

// The arithmetic of to_f8e4m3 in core/dtype.h: the instruction for this conversion needs sm_89.
template <>
__device__ inline f8e4m3 from_float<f8e4m3>(float v) {
  const uint32_t bits = __float_as_uint(v), magnitude = bits & 0x7fffffff;
  uint32_t code;
  if (magnitude > 0x7f800000)
    code = 0x7f;
  else if (magnitude >= 0x43e00000)  // saturates at 448
    code = 0x7e;
  else if (magnitude < 0x3c800000)  // subnormal below 2^-6, in units of 2^-9
    code = __float_as_uint(__uint_as_float(magnitude) + 0x1p14f) - __float_as_uint(0x1p14f);
  else
    code = (magnitude - 0x3c000000 + 0x7ffff + (magnitude >> 20 & 1)) >> 20;
  return {static_cast<uint8_t>((bits >> 24 & 0x80) | code)};
}

}  // namespace caracal

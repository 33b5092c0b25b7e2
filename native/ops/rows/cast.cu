// Memory-bound: each element is read once and written once. A lane moves 16 bytes of the wider type.
#include <cuda_fp16.h>

#include "cuda/device/f8e4m3_convert.cuh"
#include "cuda/device/index.cuh"
#include "ops/rows/cast.kernels.h"

namespace caracal {

using f16 = __half;
using i32 = int;
using u8 = uint8_t;

template <class T>
__device__ inline float widen(T v) {
  return to_float(v);
}
template <>
__device__ inline float widen(f16 v) {
  return __half2float(v);
}
template <>
__device__ inline float widen(i32 v) {
  return __int2float_rn(v);
}
template <>
__device__ inline float widen(u8 v) {
  return v;
}
template <>
__device__ inline float widen(f8e4m3 v) {
  return to_float_or_nan(v);
}

template <>
__device__ inline f16 from_float<f16>(float v) {
  return __float2half_rn(v);
}
template <class From, class To, int V>
__device__ inline void cast(const From* x, To* y, long long n) {
  const long long i = grid_thread_index() * V;
  if (i >= n) return;
  const auto in = *reinterpret_cast<const Vector<From, V>*>(x + i);
  Vector<To, V> out;
#pragma unroll
  for (int j = 0; j < V; j++) out.v[j] = from_float<To>(widen(in.v[j]));
  *reinterpret_cast<Vector<To, V>*>(y + i) = out;
}

#define CARACAL_CAST(From, To)                                                                   \
  CARACAL_KERNEL(kCast, cast_##From##_##To, , const From* x, To* y, long long n, bool aligned) { \
    if (aligned)                                                                                 \
      cast<From, To, 16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To))>(x, y, n);     \
    else                                                                                         \
      cast<From, To, 1>(x, y, n);                                                                \
  }
#define CARACAL_CASTS(From) \
  CARACAL_CAST(From, f32)   \
  CARACAL_CAST(From, f16)   \
  CARACAL_CAST(From, bf16)  \
  CARACAL_CAST(From, f8e4m3)
CARACAL_CASTS(f32)
CARACAL_CASTS(f16)
CARACAL_CASTS(bf16)
CARACAL_CASTS(f8e4m3)
CARACAL_CASTS(i32)
CARACAL_CASTS(u8)
#undef CARACAL_CASTS
#undef CARACAL_CAST

}  // namespace caracal

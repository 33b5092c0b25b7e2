#pragma once
// Tensor elements on the GPU: f32 and bf16 are converted to f32 and moved up to 16 bytes at a time.
#include <cuda_bf16.h>

#include <cstdint>

namespace caracal {

using f32 = float;
using bf16 = __nv_bfloat16;

__device__ inline float to_float(float v) { return v; }
__device__ inline float to_float(bf16 v) { return __bfloat162float(v); }
template <class T>
__device__ inline T from_float(float v);
template <>
__device__ inline float from_float<float>(float v) {
  return v;
}
template <>
__device__ inline bf16 from_float<bf16>(float v) {
  return __float2bfloat16_rn(v);
}

// The number of elements in 16 bytes, the widest access of a lane. A lane that handled more neighbouring elements would
// use only half of each sector per access and cause bank conflicts.
template <class T>
inline constexpr int kVector = 16 / sizeof(T);

template <class T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Vector {
  T v[N];
};

// Loads N elements. p is aligned to their size, or to 16 bytes if they are larger.
template <int N, class T>
__device__ inline void load(const T* p, float (&out)[N]) {
  constexpr int kChunk = N < kVector<T> ? N : kVector<T>;
#pragma unroll
  for (int i = 0; i < N; i += kChunk) {
    const auto chunk = *reinterpret_cast<const Vector<T, kChunk>*>(p + i);
#pragma unroll
    for (int j = 0; j < kChunk; j++) out[i + j] = to_float(chunk.v[j]);
  }
}

template <int N, class T>
__device__ inline void store(T* p, const float (&in)[N]) {
  constexpr int kChunk = N < kVector<T> ? N : kVector<T>;
#pragma unroll
  for (int i = 0; i < N; i += kChunk) {
    Vector<T, kChunk> chunk;
#pragma unroll
    for (int j = 0; j < kChunk; j++) chunk.v[j] = from_float<T>(in[i + j]);
    *reinterpret_cast<Vector<T, kChunk>*>(p + i) = chunk;
  }
}

}  // namespace caracal

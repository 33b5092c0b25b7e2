// Memory-bound: each element of x is read once and each output element is written once, 2 x 320 bytes for a frame of 80
// f32; mean and scale come from L2.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/audio/cmvn.kernels.h"

namespace caracal {

template <class T, int V>
__device__ inline void cmvn(const T* x, const float* mean, const float* scale, T* y, long long n, int channels) {
  const long long i = grid_thread_index() * V;
  if (i >= n) return;
  const int c = static_cast<int>(i % channels);
  float v[V], m[V], s[V];
  load<V>(x + i, v);
  load<V>(mean + c, m);
  load<V>(scale + c, s);
#pragma unroll
  for (int j = 0; j < V; j++) v[j] = (v[j] - m[j]) * s[j];
  store<V>(y + i, v);
}

#define CARACAL_CMVN(T)                                                                                   \
  CARACAL_KERNEL(kCmvn, cmvn_##T, , const T* x, const float* mean, const float* scale, T* y, long long n, \
                 int channels, bool aligned) {                                                            \
    if (aligned)                                                                                          \
      cmvn<T, kVector<T>>(x, mean, scale, y, n, channels);                                                \
    else                                                                                                  \
      cmvn<T, 1>(x, mean, scale, y, n, channels);                                                         \
  }
CARACAL_CMVN(f32)
CARACAL_CMVN(bf16)
#undef CARACAL_CMVN

}  // namespace caracal

// Memory-bound: each element is read once and written once, 2 x 12 KiB per row of 6144 bf16.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/elementwise/clamp.kernels.h"

namespace caracal {

// Comparisons instead of fminf and fmaxf, which would replace NaN by a bound.
template <class T, int V>
__device__ inline void clamp(const T* x, T* y, long long n, float low, float high) {
  const long long i = grid_thread_index() * V;
  if (i >= n) return;
  float v[V];
  load<V>(x + i, v);
#pragma unroll
  for (int j = 0; j < V; j++) v[j] = v[j] < low ? low : v[j] > high ? high : v[j];
  store<V>(y + i, v);
}

#define CARACAL_CLAMP(T)                                                                                    \
  CARACAL_KERNEL(kClamp, clamp_##T, , const T* x, T* y, long long n, float low, float high, bool aligned) { \
    if (aligned)                                                                                            \
      clamp<T, kVector<T>>(x, y, n, low, high);                                                             \
    else                                                                                                    \
      clamp<T, 1>(x, y, n, low, high);                                                                      \
  }
CARACAL_CLAMP(f32)
CARACAL_CLAMP(bf16)
#undef CARACAL_CLAMP

}  // namespace caracal

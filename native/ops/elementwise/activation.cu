// Memory-bound: each element is read once and written once, 2 x 12 KiB per row of 6144 bf16.
#include "cuda/device/activation.cuh"
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/elementwise/activation.kernels.h"

namespace caracal {

template <class T, int V>
__device__ inline void activation(const T* x, T* y, long long n, Activation kind) {
  const long long i = grid_thread_index() * V;
  if (i >= n) return;
  float v[V];
  load<V>(x + i, v);
#pragma unroll
  for (int j = 0; j < V; j++) v[j] = activate(kind, v[j]);
  store<V>(y + i, v);
}

#define CARACAL_ACTIVATION(T)                                                                                   \
  CARACAL_KERNEL(kActivation, activation_##T, , const T* x, T* y, long long n, Activation kind, bool aligned) { \
    if (aligned)                                                                                                \
      activation<T, kVector<T>>(x, y, n, kind);                                                                 \
    else                                                                                                        \
      activation<T, 1>(x, y, n, kind);                                                                          \
  }
CARACAL_ACTIVATION(f32)
CARACAL_ACTIVATION(bf16)
#undef CARACAL_ACTIVATION

}  // namespace caracal

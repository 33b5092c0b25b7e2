// Memory-bound: each element of x is read once and each output element is written once, 2 x 0.55 MB for a frame's 1440
// rows of 96 f32, with about 25 instructions per element; alpha comes from L2.
#include "cuda/device/activation.cuh"
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/audio/snake.kernels.h"

namespace caracal {

template <class T, class A, int V>
__device__ inline void snake(const T* x, const A* alpha, T* y, long long n, int channels) {
  const long long i = grid_thread_index() * V;
  if (i >= n) return;
  float v[V], a[V];
  load<V>(x + i, v);
  load<V>(alpha + i % channels, a);
#pragma unroll
  for (int j = 0; j < V; j++) v[j] = snake(v[j], a[j]);
  store<V>(y + i, v);
}

#define CARACAL_SNAKE(T, A)                                                                              \
  CARACAL_KERNEL(kSnake, snake_##T##_##A, , const T* x, const A* alpha, T* y, long long n, int channels, \
                 bool aligned) {                                                                         \
    if (aligned)                                                                                         \
      snake<T, A, kVector<T>>(x, alpha, y, n, channels);                                                 \
    else                                                                                                 \
      snake<T, A, 1>(x, alpha, y, n, channels);                                                          \
  }
CARACAL_SNAKE(f32, f32)
CARACAL_SNAKE(f32, bf16)
CARACAL_SNAKE(bf16, f32)
CARACAL_SNAKE(bf16, bf16)
#undef CARACAL_SNAKE

}  // namespace caracal

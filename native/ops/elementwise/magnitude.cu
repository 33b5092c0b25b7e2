// Memory-bound: each element is read once, and half as many are written; 4 frames of 258 f32 for a chunk of sound. A
// thread computes one element: the imaginary half of a row is seldom aligned to vectors.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/elementwise/magnitude.kernels.h"

namespace caracal {

template <class T>
__device__ inline void magnitude(const T* x, T* y, long long n, int columns) {
  const long long i = grid_thread_index();
  if (i >= n) return;
  const T* real = x + i + i / columns * columns;
  float re[1], im[1];
  load<1>(real, re);
  load<1>(real + columns, im);
  re[0] = sqrtf(fmaf(im[0], im[0], re[0] * re[0]));
  store<1>(y + i, re);
}

#define CARACAL_MAGNITUDE(T)                                                                \
  CARACAL_KERNEL(kMagnitude, magnitude_##T, , const T* x, T* y, long long n, int columns) { \
    magnitude<T>(x, y, n, columns);                                                         \
  }
CARACAL_MAGNITUDE(f32)
CARACAL_MAGNITUDE(bf16)
#undef CARACAL_MAGNITUDE

}  // namespace caracal

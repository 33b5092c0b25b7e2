// Memory-bound: each output element is written once, 4.7 KiB for a row of 15 frames of 80 f32. Every frame of x is read
// by the width / stride rows that contain it, from L2 after the first time.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/audio/splice.kernels.h"

namespace caracal {

// Output row t holds the `width` frames from first + t · stride on, each clamped to [oldest, newest].
template <class T, int V>
__device__ inline void splice(TimeRows<T> x, T* y, long long n, long long first, int width, int stride,
                              long long oldest, long long newest) {
  const long long i = grid_thread_index() * V;
  if (i >= n) return;
  const long long row = i / (static_cast<long long>(width) * x.channels);
  const int column = static_cast<int>(i - row * width * x.channels);
  const long long frame = first + row * stride + column / x.channels;
  float v[V];
  load<V>(x.at(min(max(frame, oldest), newest)) + column % x.channels, v);
  store<V>(y + i, v);
}

#define CARACAL_SPLICE(T)                                                                                         \
  CARACAL_KERNEL(kSplice, splice_##T, , TimeRows<T> x, T* y, long long n, long long first, int width, int stride, \
                 long long oldest, long long newest, bool aligned) {                                              \
    if (aligned)                                                                                                  \
      splice<T, kVector<T>>(x, y, n, first, width, stride, oldest, newest);                                       \
    else                                                                                                          \
      splice<T, 1>(x, y, n, first, width, stride, oldest, newest);                                                \
  }
CARACAL_SPLICE(f32)
CARACAL_SPLICE(bf16)
#undef CARACAL_SPLICE

}  // namespace caracal

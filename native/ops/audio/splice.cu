// Memory-bound: every element of the output is written once, 4.7 KiB a row of 15 frames of 80 f32; a frame of x is read by
// the width / stride rows that hold it, all but the first time from the L2.
#include "cuda/device/element.cuh"
#include "ops/audio/splice.kernels.h"

namespace caracal {

// Row t of the output has the frames from first + t · stride on, `width` of them, each within [oldest, newest].
template <class T, int V>
__device__ inline void splice(TimeRows<T> x, T* y, long long n, long long first, int width, int stride,
                              long long oldest, long long newest) {
  const long long i = (blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x) * V;
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

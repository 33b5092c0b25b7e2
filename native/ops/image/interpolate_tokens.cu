// One block per output row. Memory-bound: an input row is read by the up to four outputs around it, and every output row
// is written once.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "cuda/device/rounded.cuh"
#include "ops/image/bilinear.h"
#include "ops/image/interpolate_tokens.kernels.h"

namespace caracal {

template <class T, int V>
__device__ inline void interpolate_tokens(const T* x, T* y, int columns, const BilinearTap& down,
                                          const BilinearTap& across, long long width) {
  using F = Rounded<float>;
  auto row = [&](long long r, long long c) { return x + (r * width + c) * columns; };
  const T* const corner[] = {row(down.low, across.low), row(down.low, across.high), row(down.high, across.low),
                             row(down.high, across.high)};
  const F right = across.fraction, left = 1 - across.fraction, lower = down.fraction, upper = 1 - down.fraction;
  for (int i = thread_index() * V; i < columns; i += thread_count() * V) {
    float v[4][V], out[V];
#pragma unroll
    for (int k = 0; k < 4; k++) load<V>(corner[k] + i, v[k]);
#pragma unroll
    for (int j = 0; j < V; j++) {
      const F above = F(v[0][j]) * left + F(v[1][j]) * right, below = F(v[2][j]) * left + F(v[3][j]) * right;
      out[j] = (above * upper + below * lower).v;
    }
    store<V>(y + i, out);
  }
}

#define CARACAL_INTERPOLATE_TOKENS(T)                                                                           \
  CARACAL_KERNEL(kInterpolateTokens, interpolate_tokens_##T, , const T* x, T* y, int columns, long long height, \
                 long long width, long long to_height, long long to_width, bool aligned) {                      \
    __shared__ BilinearTap down, across;                                                                        \
    const long long row = blockIdx.x;                                                                           \
    if (threadIdx.x == 0) {                                                                                     \
      down = bilinear_tap(row / to_width, height, to_height);                                                   \
      across = bilinear_tap(row % to_width, width, to_width);                                                   \
    }                                                                                                           \
    __syncthreads();                                                                                            \
    y += row * columns;                                                                                         \
    if (aligned)                                                                                                \
      interpolate_tokens<T, kVector<T>>(x, y, columns, down, across, width);                                    \
    else                                                                                                        \
      interpolate_tokens<T, 1>(x, y, columns, down, across, width);                                             \
  }
CARACAL_INTERPOLATE_TOKENS(f32)
CARACAL_INTERPOLATE_TOKENS(bf16)
#undef CARACAL_INTERPOLATE_TOKENS

}  // namespace caracal

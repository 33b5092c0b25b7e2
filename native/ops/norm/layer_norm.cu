// A block per row, which stands in shared memory between its three uses: the mean, the variance about it, the
// output. Memory-bound: C elements are read once and written once; weight and bias come from the L2.
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "ops/norm/layer_norm.cuh"
#include "ops/norm/layer_norm.kernels.h"

namespace caracal {

// V elements at a time: 1 where rows are not aligned to 16 bytes. `kept`: the row has room in shared memory.
template <class T, class W, int V>
__device__ inline void layer_norm(const T* x, const W* weight, const W* bias, T* y, int n, float eps, bool kept) {
  extern __shared__ int4 shared[];
  T* const row = reinterpret_cast<T*>(shared);
  x += size_t{blockIdx.x} * n;
  y += size_t{blockIdx.x} * n;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  auto first = [&](int i, float (&v)[V]) {
    load<V>(x + i, v);
    if (kept) store<V>(row + i, v);
  };
  auto again = [&](int i, float (&v)[V]) {
    if (kept)
      load<V>(row + i, v);  // what this thread has put there
    else
      load<V>(x + i, v);
  };
  const float mean = block_sum(part_of_sum<V>(first, n, thread, threads)) / static_cast<float>(n);
  const float scale = layer_norm_scale(block_sum(part_of_squares<V>(again, mean, n, thread, threads)), n, eps);
  for (int i = thread * V; i < n; i += threads * V) {
    float v[V], w[V], b[V] = {};
    again(i, v);
    load<V>(weight + i, w);
    if (bias) load<V>(bias + i, b);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = layer_normed(v[j], mean, scale, w[j], b[j]);
    store<V>(y + i, v);
  }
}

#define CARACAL_LAYER_NORM(T, W)                                                                              \
  CARACAL_KERNEL(kLayerNorm, layer_norm_##T##_##W, , const T* x, const W* weight, const W* bias, T* y, int n, \
                 float eps, bool aligned, bool kept) {                                                        \
    if (aligned)                                                                                              \
      layer_norm<T, W, kVector<T>>(x, weight, bias, y, n, eps, kept);                                         \
    else                                                                                                      \
      layer_norm<T, W, 1>(x, weight, bias, y, n, eps, kept);                                                  \
  }
CARACAL_LAYER_NORM(f32, f32)
CARACAL_LAYER_NORM(f32, bf16)
CARACAL_LAYER_NORM(bf16, f32)
CARACAL_LAYER_NORM(bf16, bf16)
#undef CARACAL_LAYER_NORM

}  // namespace caracal

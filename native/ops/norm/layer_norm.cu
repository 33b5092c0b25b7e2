// One block per row. Shared memory holds the row for its three uses: the mean, the variance about it, the output.
// Memory-bound: C elements are read once and written once; weight and bias come from the L2.
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "ops/norm/layer_norm.cuh"
#include "ops/norm/layer_norm.kernels.h"

namespace caracal {

// Moves V elements at a time: 1 if rows are not aligned to 16 bytes. `staged`: the row fits in shared memory.
template <class T, class W, int V>
__device__ inline void layer_norm(const T* x, const W* weight, const W* bias, T* y, int n, float eps, bool staged) {
  extern __shared__ int4 shared[];
  T* const row = reinterpret_cast<T*>(shared);
  x += size_t{blockIdx.x} * n;
  y += size_t{blockIdx.x} * n;
  const int thread = thread_index(), threads = thread_count();
  auto read_first = [&](int i, float (&v)[V]) {
    load<V>(x + i, v);
    if (staged) store<V>(row + i, v);
  };
  auto read_again = [&](int i, float (&v)[V]) {
    if (staged)
      load<V>(row + i, v);  // stored by this thread, so no barrier is needed
    else
      load<V>(x + i, v);
  };
  const float mean = block_sum(part_of_sum<V>(read_first, n, thread, threads)) / static_cast<float>(n);
  const float scale = layer_norm_scale(block_sum(part_of_squares<V>(read_again, mean, n, thread, threads)), n, eps);
  for (int i = thread * V; i < n; i += threads * V) {
    float v[V], w[V], b[V] = {};
    read_again(i, v);
    load<V>(weight + i, w);
    if (bias) load<V>(bias + i, b);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = layer_normed(v[j], mean, scale, w[j], b[j]);
    store<V>(y + i, v);
  }
}

#define CARACAL_LAYER_NORM(T, W)                                                                              \
  CARACAL_KERNEL(kLayerNorm, layer_norm_##T##_##W, , const T* x, const W* weight, const W* bias, T* y, int n, \
                 float eps, bool aligned, bool staged) {                                                      \
    if (aligned)                                                                                              \
      layer_norm<T, W, kVector<T>>(x, weight, bias, y, n, eps, staged);                                       \
    else                                                                                                      \
      layer_norm<T, W, 1>(x, weight, bias, y, n, eps, staged);                                                \
  }
CARACAL_LAYER_NORM(f32, f32)
CARACAL_LAYER_NORM(f32, bf16)
CARACAL_LAYER_NORM(bf16, f32)
CARACAL_LAYER_NORM(bf16, bf16)
#undef CARACAL_LAYER_NORM

}  // namespace caracal

// One block per row. Shared memory holds the row between the sum of its squares and the output. Memory-bound: C
// elements of x and of the residual are read once, y and h are written once; the weight comes from the L2.
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "ops/norm/rms_norm.kernels.h"

namespace caracal {

// Moves V elements at a time: 1 if rows are not aligned to 16 bytes. `staged`: the row fits in shared memory.
template <class T, class W, int V>
__device__ inline void rms_norm(const T* x, const T* residual, const W* weight, T* y, T* h, int n, float eps,
                                bool staged) {
  extern __shared__ int4 shared[];
  T* const row = reinterpret_cast<T*>(shared);  // of the values rounded to T
  const size_t first = size_t{blockIdx.x} * n;
  const int from = thread_index() * V, step = thread_count() * V;
  float sum = 0;
  for (int i = from; i < n; i += step) {
    float v[V];
    load<V>(x + first + i, v);
    if (residual) {
      float r[V];
      load<V>(residual + first + i, r);
#pragma unroll
      for (int j = 0; j < V; j++) v[j] = to_float(from_float<T>(v[j] + r[j]));
      store<V>(h + first + i, v);
    }
#pragma unroll
    for (int j = 0; j < V; j++) sum = fmaf(v[j], v[j], sum);
    if (staged) store<V>(row + i, v);
  }
  const float scale = 1.0f / sqrtf(block_sum(sum) / static_cast<float>(n) + eps);
  for (int i = from; i < n; i += step) {  // the elements that this thread stored, so no barrier is needed
    float v[V], w[V];
    if (staged)
      load<V>(row + i, v);
    else
      load<V>((residual ? h : x) + first + i, v);
    load<V>(weight + i, w);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = to_float(from_float<T>(v[j] * scale)) * w[j];
    store<V>(y + first + i, v);
  }
}

#define CARACAL_RMS_NORM(T, W)                                                                                      \
  CARACAL_KERNEL(kRmsNorm, rms_norm_##T##_##W, , const T* x, const T* residual, const W* weight, T* y, T* h, int n, \
                 float eps, bool aligned, bool staged) {                                                            \
    if (aligned)                                                                                                    \
      rms_norm<T, W, kVector<T>>(x, residual, weight, y, h, n, eps, staged);                                        \
    else                                                                                                            \
      rms_norm<T, W, 1>(x, residual, weight, y, h, n, eps, staged);                                                 \
  }
CARACAL_RMS_NORM(f32, f32)
CARACAL_RMS_NORM(f32, bf16)
CARACAL_RMS_NORM(bf16, f32)
CARACAL_RMS_NORM(bf16, bf16)
#undef CARACAL_RMS_NORM

}  // namespace caracal

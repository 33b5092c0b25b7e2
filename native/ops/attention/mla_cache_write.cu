// A block per token. Memory-bound: 576 elements are read and written, 1152 + 1152 bytes per token of bf16; the norm's
// weight comes from L2. The latent stays in shared memory between the sum of its squares and its normalisation.
#include "cuda/device/index.cuh"
#include "cuda/device/reduce.cuh"
#include "ops/attention/mla_cache_write.kernels.h"
#include "ops/attention/rotation.cuh"

namespace caracal {

// `row` is shared memory for a if in_shared.
template <class T, class W, class C, int V>
__device__ inline void write_latent(const T* a, const W* weight, C* out, T* row, int n, float eps, float scale,
                                    bool in_shared) {
  const int from = thread_index() * V, step = thread_count() * V;
  float sum = 0;
  for (int i = from; i < n; i += step) {
    float v[V];
    load<V>(a + i, v);
#pragma unroll
    for (int j = 0; j < V; j++) sum = fmaf(v[j], v[j], sum);
    if (in_shared) store<V>(row + i, v);
  }
  const float factor = scale / sqrtf(block_sum(sum) / static_cast<float>(n) + eps);
  for (int i = from; i < n; i += step) {
    float v[V], w[V];
    load<V>((in_shared ? row : a) + i, v);  // stored by this thread
    load<V>(weight + i, w);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = v[j] * factor * w[j];
    store<V>(out + i, v);
  }
}

template <class T, class W, class C, int V>
__device__ inline void mla_cache_write(const MlaCacheWriteParameters& p) {
  constexpr int kPassPairs = 128;
  static_assert(2 * kPassPairs % V == 0, "a vector is within one pass");
  extern __shared__ int4 shared[];
  __shared__ Rotations<kPassPairs> rotations;
  const long long t = blockIdx.x;
  const int slot = p.slots[t];
  if (slot < 0 || slot >= p.rows) {
    if (threadIdx.x == 0) raise(p.fault, 0, t, slot);
    return;
  }
  const long long width = p.latent + p.rotated;
  const T* kv = static_cast<const T*>(p.kv) + t * width;
  C* out = static_cast<C*>(p.cache) + slot * width;
  write_latent<T, W, C, V>(kv, static_cast<const W*>(p.weight), out, reinterpret_cast<T*>(shared), p.latent, p.eps,
                           p.scale, p.in_shared);
  for (int first = 0; 2 * first < p.rotated; first += kPassPairs) {
    const int pairs = min(kPassPairs, p.rotated / 2 - first), at = p.latent + 2 * first;
    rotations.compute(p.frequencies, p.positions[t], first, pairs);
    for (int i = thread_index() * V; i < 2 * pairs; i += thread_count() * V) {
      float v[V];
      load<V>(kv + at + i, v);
      rotations.apply(kv + at + i, i, v);
      store<V>(out + at + i, v);
    }
  }
}

#define CARACAL_MLA_CACHE_WRITE(T, W, C)                              \
  CARACAL_KERNEL(kMlaCacheWrite, mla_cache_write_##T##_##W##_##C, ,   \
                 const __grid_constant__ MlaCacheWriteParameters p) { \
    if (p.aligned)                                                    \
      mla_cache_write<T, W, C, kVector<C>>(p);                        \
    else                                                              \
      mla_cache_write<T, W, C, 1>(p);                                 \
  }
CARACAL_MLA_CACHE_WRITE(f32, f32, f32)
CARACAL_MLA_CACHE_WRITE(f32, f32, bf16)
CARACAL_MLA_CACHE_WRITE(f32, bf16, f32)
CARACAL_MLA_CACHE_WRITE(f32, bf16, bf16)
CARACAL_MLA_CACHE_WRITE(bf16, f32, f32)
CARACAL_MLA_CACHE_WRITE(bf16, f32, bf16)
CARACAL_MLA_CACHE_WRITE(bf16, bf16, f32)
CARACAL_MLA_CACHE_WRITE(bf16, bf16, bf16)
#undef CARACAL_MLA_CACHE_WRITE

}  // namespace caracal

// Rotates q and k of the vision encoder and normalises them over all heads jointly, before the attention of flash.cu
// (4 S^2 1280 FLOP for S patches, with heads of 80). This is a kernel of its own because a block of the attention has
// one head while the norm covers the row, and because every such block would otherwise rotate all keys again. It reads
// q and k once and writes them once: 1280 bf16 each, 10 KiB per token.
#include "cuda/device/index.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "ops/attention/rotation.cuh"
#include "ops/attention/vit_attention.kernels.h"

namespace caracal {

// The dim / 2 rotations of one patch: those of its row, then those of its column.
struct PatchRotations {
  static constexpr int kStored = 256;  // rotations beyond are computed at each use
  const RotaryFrequencies& frequencies;
  const int* position;
  int quarter;  // of dim
  Rotations<kStored>& stored;

  __device__ Rotation compute(int i) const {
    return rotation_at(position[i >= quarter], rotary_frequency(frequencies, i % quarter));
  }
  __device__ void compute_stored() const {
    for (int i = thread_index(); i < min(2 * quarter, kStored); i += thread_count()) {
      const Rotation r = compute(i);
      stored.cosine[i] = r.cosine;
      stored.sine[i] = r.sine;
    }
  }
  // Loads v[0, V) from table + i. With V = 8, every other group of four lanes loads its second four first, to avoid
  // bank conflicts.
  template <int V>
  static __device__ void look_up(const float* table, int i, float (&v)[V]) {
    if constexpr (V < 8) {
      load<V>(table + i, v);
    } else {
      const int first = i / 32 % 2 * 4;
      float a[4], b[4];
      load<4>(table + i + first, a);
      load<4>(table + i + (first ^ 4), b);
#pragma unroll
      for (int j = 0; j < 4; j++) {
        v[j] = first ? b[j] : a[j];
        v[4 + j] = first ? a[j] : b[j];
      }
    }
  }
  template <int V>
  __device__ void get(int i, float (&cosine)[V], float (&sine)[V]) const {
    if (i + V <= kStored) {
      look_up(stored.cosine, i, cosine);
      look_up(stored.sine, i, sine);
      return;
    }
#pragma unroll
    for (int j = 0; j < V; j++) {
      const Rotation r = compute(i + j);
      cosine[j] = r.cosine;
      sine[j] = r.sine;
    }
  }
};

// Block (row, q or k).
template <class T, class Out, int V>
__device__ inline void vit_prologue(const VitPrologueParameters& p) {
  extern __shared__ int4 shared[];
  __shared__ Rotations<PatchRotations::kStored> stored;
  T* const row = reinterpret_cast<T*>(shared);
  const int which = block_y(), half = p.dim / 2;
  const T* x = static_cast<const T*>(p.qkv) + (blockIdx.x * 3ll + which) * p.width;
  Out* out = static_cast<Out*>(p.out[which]) + blockIdx.x * static_cast<long long>(p.width);
  const PatchRotations rotations{p.frequencies, p.positions + 2ll * blockIdx.x, p.dim / 4, stored};
  rotations.compute_stored();
  const int from = thread_index() * V, step = thread_count() * V;
  float sum = 0;  // of squares, which rotation preserves
  for (int i = from; i < p.width; i += step) {
    float v[V];
    load<V>(x + i, v);
#pragma unroll
    for (int j = 0; j < V; j++) sum = fmaf(v[j], v[j], sum);
    if (p.in_shared) store<V>(row + i, v);
  }
  const float factor = 1.0f / sqrtf(block_sum(sum) / static_cast<float>(p.width) + p.eps);
  __syncthreads();
  const T* source = p.in_shared ? row : x;
  for (int i = from; i < p.width; i += step) {
    const int in_head = i % p.dim;
    const bool first = in_head < half;
    float v[V], other[V], weight[V], cosine[V], sine[V];
    load<V>(source + i, v);
    load<V>(source + (first ? i + half : i - half), other);
    load_as<V>(p.weight_bf16[which], p.weight[which], i, weight);
    rotations.get(first ? in_head : in_head - half, cosine, sine);
#pragma unroll
    for (int j = 0; j < V; j++) {
      const float2 pair = rotated(first ? v[j] : other[j], first ? other[j] : v[j], {cosine[j], sine[j]});
      v[j] = (first ? pair.x : pair.y) * factor * weight[j];
    }
    store<V>(out + i, v);
  }
}

#define CARACAL_VIT_PROLOGUE(T, Out)                                                                          \
  CARACAL_KERNEL(kVitPrologue, vit_prologue_##T##_##Out, , const __grid_constant__ VitPrologueParameters p) { \
    if (p.aligned)                                                                                            \
      vit_prologue<T, Out, kVector<Out>>(p);                                                                  \
    else                                                                                                      \
      vit_prologue<T, Out, 1>(p);                                                                             \
  }
CARACAL_VIT_PROLOGUE(f32, f32)
CARACAL_VIT_PROLOGUE(bf16, f32)
CARACAL_VIT_PROLOGUE(bf16, bf16)
#undef CARACAL_VIT_PROLOGUE

}  // namespace caracal

// What comes before the attention of the vision encoder: q and k are rotated and normalised over all heads jointly. That
// is a kernel of its own, since a block that attends has one head, and the norm is the row's: it reads q and k once and
// writes them once (1280 bf16 each: 10 KiB a token), where every block that attends would rotate all keys anew. The
// attention itself is flash.cu's, 4 S^2 1280 FLOP for S patches, with heads of 80.
#include "cuda/device/reduce.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "ops/attention/rotation.cuh"
#include "ops/attention/vit_attention.kernels.h"

namespace caracal {

// The angles of one patch, i < dim / 2: its row's frequencies, then its column's.
struct PatchTurns {
  static constexpr int kRoom = 256;  // more are made where they are needed
  const RotaryTable& table;
  const int* position;
  int quarter;
  Turns<kRoom>& made;

  __device__ Turn make(int i) const { return turn_by(position[i >= quarter], rotary_frequency(table, i % quarter)); }
  __device__ void make_all() const {
    for (int i = static_cast<int>(threadIdx.x); i < min(2 * quarter, kRoom); i += static_cast<int>(blockDim.x)) {
      const Turn t = make(i);
      made.cosine[i] = t.cosine;
      made.sine[i] = t.sine;
    }
  }
  // Of eight, lanes whose neighbours are in other banks begin with the second four.
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
  __device__ void of(int i, float (&cosine)[V], float (&sine)[V]) const {
    if (i + V <= kRoom) {
      look_up(made.cosine, i, cosine);
      look_up(made.sine, i, sine);
      return;
    }
#pragma unroll
    for (int j = 0; j < V; j++) {
      const Turn t = make(i + j);
      cosine[j] = t.cosine;
      sine[j] = t.sine;
    }
  }
};

// Block (row, q or k).
template <class T, class Out, int V>
__device__ inline void vit_prologue(const VitPrologueParameters& p) {
  extern __shared__ int4 shared[];
  __shared__ Turns<PatchTurns::kRoom> made;
  T* const row = reinterpret_cast<T*>(shared);
  const int which = static_cast<int>(blockIdx.y), half = p.dim / 2;
  const T* x = static_cast<const T*>(p.qkv) + (blockIdx.x * 3ll + which) * p.width;
  Out* out = static_cast<Out*>(p.out[which]) + blockIdx.x * static_cast<long long>(p.width);
  const PatchTurns turns{p.table, p.positions + 2ll * blockIdx.x, p.dim / 4, made};
  turns.make_all();
  const int from = static_cast<int>(threadIdx.x) * V, step = static_cast<int>(blockDim.x) * V;
  float sum = 0;  // rotation does not change it
  for (int i = from; i < p.width; i += step) {
    float v[V];
    load<V>(x + i, v);
#pragma unroll
    for (int j = 0; j < V; j++) sum = fmaf(v[j], v[j], sum);
    if (p.kept) store<V>(row + i, v);
  }
  const float factor = 1.0f / sqrtf(block_sum(sum) / static_cast<float>(p.width) + p.eps);
  __syncthreads();
  const T* again = p.kept ? row : x;
  for (int i = from; i < p.width; i += step) {
    const int in_head = i % p.dim;
    const bool first = in_head < half;
    float v[V], other[V], weight[V], cosine[V], sine[V];
    load<V>(again + i, v);
    load<V>(again + (first ? i + half : i - half), other);
    load_as<V>(p.weight_bf16[which], p.weight[which], i, weight);
    turns.of(first ? in_head : in_head - half, cosine, sine);
#pragma unroll
    for (int j = 0; j < V; j++) {
      const float2 pair = turned(first ? v[j] : other[j], first ? other[j] : v[j], {cosine[j], sine[j]});
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

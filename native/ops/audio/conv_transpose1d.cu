// The product of x and the weight's rows (tap, o), [T, k · Cout], is linear's. With kernel = stride it is the output; all
// that is done here is to repeat the bias for every tap. Otherwise the product's rows are added where they overlap:
// memory-bound, every product is read once (k / stride of them per element) and every element is written once. At the
// model's sizes (8C x C/2 with C = 1536 at 1 row per frame, 6C x C/2, 6C x C/2, 5C x C/2 with C = 768, 384, 192 at 8,
// 48, 288) 2 T Cin k Cout FLOP and the weight's bytes, which rule while few frames come at once.
#include "cuda/gemm/epilogue.cuh"
#include "ops/audio/conv_transpose1d.kernels.h"

namespace caracal {

template <class B>
__device__ inline void repeat_bias(const B* bias, float* out, long long n, int outputs) {
  const long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
  if (i < n) out[i] = to_float(bias[i % outputs]);
}

#define CARACAL_REPEAT_BIAS(B)                                                                          \
  CARACAL_KERNEL(kRepeatBias, repeat_bias_##B, , const B* bias, float* out, long long n, int outputs) { \
    repeat_bias(bias, out, n, outputs);                                                                 \
  }
CARACAL_REPEAT_BIAS(f32)
CARACAL_REPEAT_BIAS(bf16)
#undef CARACAL_REPEAT_BIAS

// V sums at a position from a channel on: the carry, then the products in order of time.
template <int V>
__device__ inline void overlap_sums(const OverlapAdd& s, long long position, int channel, float (&sum)[V]) {
  if (s.carry && position < s.carry_rows) load<V>(s.carry + position * s.outputs + channel, sum);
  const long long behind = position - s.taps + s.stride;  // rows up to t = behind / stride - 1 no longer reach it
  for (long long t = max(s.begin, behind > 0 ? behind / s.stride : 0); t < s.end && t * s.stride <= position; t++) {
    float v[V];
    load<V>(s.products + ((t - s.begin) * s.taps + position - t * s.stride) * s.outputs + channel, v);
#pragma unroll
    for (int j = 0; j < V; j++) sum[j] += v[j];
  }
}

// Which position and channel a thread works on, V channels at a time.
template <int V>
struct OverlapPlace {
  long long row;
  int channel;

  __device__ explicit OverlapPlace(int outputs) {
    const long long i = (blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x) * V;
    row = i / outputs;
    channel = static_cast<int>(i - row * outputs);
  }
};

// Output rows [first, first + rows) are those of the positions from `from` on.
template <int V>
__device__ inline void add_overlapping(const OverlapAdd& sums, long long from, long long first, long long rows,
                                       const LinearEpilogue& e) {
  const OverlapPlace<V> place(sums.outputs);
  if (place.row >= rows) return;
  float sum[1][V] = {};
  overlap_sums<V>(sums, from + place.row, place.channel, sum[0]);
  finish<V>(e, sums.outputs, first + place.row, place.channel, sum);
}

CARACAL_KERNEL(kOverlapAdd, overlap_add, , const __grid_constant__ OverlapAdd sums, long long from, long long first,
               long long rows, const __grid_constant__ LinearEpilogue e) {
  if (!e.aligned)
    add_overlapping<1>(sums, from, first, rows, e);
  else if (e.bf16)
    add_overlapping<8>(sums, from, first, rows, e);
  else
    add_overlapping<4>(sums, from, first, rows, e);
}

// What later rows of x add to: the sums from the position `from` on.
template <int V>
__device__ inline void carry_overlapping(const OverlapAdd& sums, long long from, float* next) {
  const OverlapPlace<V> place(sums.outputs);
  if (place.row >= sums.carry_rows) return;
  float sum[V] = {};
  overlap_sums<V>(sums, from + place.row, place.channel, sum);
  store<V>(next + place.row * sums.outputs + place.channel, sum);
}

CARACAL_KERNEL(kOverlapCarry, overlap_carry, , const __grid_constant__ OverlapAdd sums, long long from, float* next,
               bool aligned) {
  if (aligned)
    carry_overlapping<4>(sums, from, next);
  else
    carry_overlapping<1>(sums, from, next);
}

}  // namespace caracal

// A convolution with one tap multiplies x by the weight's rows (tap, o), giving [T, k · Cout]. With kernel = stride that
// is the output, and only the bias must be repeated for every tap. Otherwise overlapping rows of the product are added:
// memory-bound, with each product read once (k / stride of them per element) and each output element written once. At
// the model's sizes (8C x C/2 with C = 1536 at 1 row per frame, 6C x C/2, 6C x C/2, 5C x C/2 with C = 768, 384, 192 at
// 8, 48, 288) the product is 2 T Cin k Cout FLOP; reading the weight dominates for few frames.
#include "cuda/device/index.cuh"
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

// V sums at a position, from `channel` on: the carry, then the products in order of time.
template <int V>
__device__ inline void overlap_sums(const OverlapAdd& s, long long position, int channel, float (&sum)[V]) {
  if (s.carry && position < s.carry_rows) load<V>(s.carry + position * s.outputs + channel, sum);
  const long long behind = position - s.taps + s.stride;  // rows before t = behind / stride do not reach it
  for (long long t = max(s.begin, behind > 0 ? behind / s.stride : 0); t < s.end && t * s.stride <= position; t++) {
    float v[V];
    load<V>(s.products + ((t - s.begin) * s.taps + position - t * s.stride) * s.outputs + channel, v);
#pragma unroll
    for (int j = 0; j < V; j++) sum[j] += v[j];
  }
}

// The row and the first of V channels that a thread computes.
template <int V>
struct OverlapElement {
  long long row;
  int channel;

  __device__ explicit OverlapElement(int outputs) {
    const long long i = grid_thread_index() * V;
    row = i / outputs;
    channel = static_cast<int>(i - row * outputs);
  }
};

// Writes output rows [first, first + rows), the sums at the positions from `from` on.
template <int V>
__device__ inline void add_overlapping(const OverlapAdd& sums, long long from, long long first, long long rows,
                                       const LinearEpilogue& e) {
  const OverlapElement<V> element(sums.outputs);
  if (element.row >= rows) return;
  float sum[1][V] = {};
  overlap_sums<V>(sums, from + element.row, element.channel, sum[0]);
  finish<V>(e, sums.outputs, first + element.row, element.channel, sum);
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

// Writes the sums at the positions from `from` on, which later rows of x will add to.
template <int V>
__device__ inline void carry_overlapping(const OverlapAdd& sums, long long from, float* next) {
  const OverlapElement<V> element(sums.outputs);
  if (element.row >= sums.carry_rows) return;
  float sum[V] = {};
  overlap_sums<V>(sums, from + element.row, element.channel, sum);
  store<V>(next + element.row * sums.outputs + element.channel, sum);
}

CARACAL_KERNEL(kOverlapCarry, overlap_carry, , const __grid_constant__ OverlapAdd sums, long long from, float* next,
               bool aligned) {
  if (aligned)
    carry_overlapping<4>(sums, from, next);
  else
    carry_overlapping<1>(sums, from, next);
}

}  // namespace caracal

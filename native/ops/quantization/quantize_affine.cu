// One warp per group. Memory-bound, run when a checkpoint is converted: each weight is read once, in order; the codes of 32
// weights go through shared memory, from which a lane puts together each word.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/quantization/affine_group.h"
#include "ops/quantization/quantize_affine.kernels.h"

namespace caracal {

__device__ inline float warp_min(float v) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) v = fminf(v, __shfl_xor_sync(kAllLanes, v, step));
  return v;
}

__device__ inline float warp_max(float v) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, step));
  return v;
}

// Bits 32 * word to 32 * word + 31 of the stream of codes.
__device__ inline unsigned packed_word(const uint8_t* codes, int bits, int word) {
  unsigned packed = 0;
  for (int i = word * 32 / bits; i < kWarp && i * bits < word * 32 + 32; i++) {
    const int at = i * bits - word * 32;
    packed |= at < 0 ? unsigned{codes[i]} >> -at : unsigned{codes[i]} << at;
  }
  return packed;
}

template <class T>
__device__ inline void quantize_affine(const T* w, unsigned* codes, T* scales, T* biases, long long groups, int group,
                                       int bits, Fault* fault) {
  __shared__ uint8_t shared[kQuantizeWarps][kWarp];
  uint8_t* const of_warp = shared[warp_index()];
  const long long index = blockIdx.x * static_cast<long long>(kQuantizeWarps) + warp_index();
  if (index >= groups) return;
  const int lane = lane_index(), parts = group / kWarp;
  float v[4];
  float low = INFINITY, high = -INFINITY;
#pragma unroll
  for (int part = 0; part < 4; part++) {
    if (part >= parts) break;
    const long long at = index * group + part * kWarp + lane;
    v[part] = to_float(w[at]);
    if (!(fabsf(v[part]) <= kLargestWeight)) raise(fault, 0, at, 0);
    low = fminf(low, v[part]);
    high = fmaxf(high, v[part]);
  }
  const float levels = static_cast<float>((1 << bits) - 1);
  const auto [scale, bias] = affine_group(warp_min(low), warp_max(high), levels);
#pragma unroll
  for (int part = 0; part < 4; part++) {
    if (part >= parts) break;
    const float q = fminf(fmaxf(rintf((v[part] - bias) / scale), 0.f), levels);
    of_warp[lane] = static_cast<uint8_t>(q);
    __syncwarp();
    if (lane < bits) codes[(index * parts + part) * bits + lane] = packed_word(of_warp, bits, lane);
    __syncwarp();
  }
  if (lane == 0) {
    scales[index] = from_float<T>(scale);
    biases[index] = from_float<T>(bias);
  }
}

#define CARACAL_QUANTIZE_AFFINE(T)                                                                          \
  CARACAL_KERNEL(kQuantizeAffine, quantize_affine_##T, , const T* w, unsigned* codes, T* scales, T* biases, \
                 long long groups, int group, int bits, Fault* fault) {                                     \
    quantize_affine(w, codes, scales, biases, groups, group, bits, fault);                                  \
  }
CARACAL_QUANTIZE_AFFINE(f32)
CARACAL_QUANTIZE_AFFINE(bf16)
#undef CARACAL_QUANTIZE_AFFINE

}  // namespace caracal

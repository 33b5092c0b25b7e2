// Memory-bound, run when a checkpoint is converted. Quantising reads a block of 128 x 128 weights twice, the second time from
// the caches, and writes its codes once. Dequantising reads every code and writes every weight once.
#include "core/scale_block.h"
#include "cuda/device/f8e4m3_convert.cuh"
#include "cuda/device/index.cuh"
#include "ops/quantization/affine_group.h"
#include "ops/quantization/fp8.kernels.h"

namespace caracal {

// The maximum over the block. All threads must call it, once.
__device__ inline float block_max(float v) {
  __shared__ float parts[kQuantizeFp8Threads / kWarp];
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, step));
  if (lane_index() == 0) parts[warp_index()] = v;
  __syncthreads();
  for (float part : parts) v = fmaxf(v, part);
  return v;
}

template <class T>
__device__ inline void quantize_fp8(const T* w, unsigned char* codes, float* scales, long long n, long long k,
                                    Fault* fault) {
  constexpr int kRowsAtATime = kQuantizeFp8Threads / kScaleBlock;
  const long long across = (k + kScaleBlock - 1) / kScaleBlock;
  const long long column = blockIdx.x % across * kScaleBlock + thread_index() % kScaleBlock;
  const long long first = blockIdx.x / across * kScaleBlock;
  const long long end = first + kScaleBlock < n ? first + kScaleBlock : n;
  const bool inside = column < k;
  float magnitude = 0;
  for (long long row = first + thread_index() / kScaleBlock; inside && row < end; row += kRowsAtATime) {
    const float v = fabsf(to_float(w[row * k + column]));
    if (!(v <= kLargestWeight)) raise(fault, 0, row * k + column, 0);
    magnitude = fmaxf(magnitude, v);
  }
  const float wanted = block_max(magnitude) / kLargestFp8;
  const float scale = wanted < kSmallestFp8Scale ? 1 : wanted;
  for (long long row = first + thread_index() / kScaleBlock; inside && row < end; row += kRowsAtATime)
    codes[row * k + column] = from_float<f8e4m3>(to_float(w[row * k + column]) / scale).bits;
  if (thread_index() == 0) scales[blockIdx.x] = scale;
}

template <class T>
__device__ inline void dequantize_fp8(const unsigned char* codes, const float* scales, T* y, long long elements,
                                      long long k) {
  const long long i = grid_thread_index();
  if (i >= elements) return;
  const long long row = i / k, column = i % k, across = (k + kScaleBlock - 1) / kScaleBlock;
  const float scale = scales[row / kScaleBlock * across + column / kScaleBlock];
  y[i] = from_float<T>(to_float_or_nan({codes[i]}) * scale);
}

#define CARACAL_FP8(T)                                                                                           \
  CARACAL_KERNEL(kQuantizeFp8, quantize_fp8_##T, , const T* w, unsigned char* codes, float* scales, long long n, \
                 long long k, Fault* fault) {                                                                    \
    quantize_fp8(w, codes, scales, n, k, fault);                                                                 \
  }                                                                                                              \
  CARACAL_KERNEL(kDequantizeFp8, dequantize_fp8_##T, , const unsigned char* codes, const float* scales, T* y,    \
                 long long elements, long long k) {                                                              \
    dequantize_fp8(codes, scales, y, elements, k);                                                               \
  }
CARACAL_FP8(f32)
CARACAL_FP8(bf16)
#undef CARACAL_FP8

}  // namespace caracal

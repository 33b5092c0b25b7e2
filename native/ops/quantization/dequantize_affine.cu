// A thread per eight codes, which are `bits` whole bytes. Memory-bound, run when a model is loaded: each code is read once and
// each weight written once, 16 bytes at a time. Codes are read byte by byte, since those of a mapped file need not be aligned.
#include <cuda_fp16.h>

#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/quantization/dequantize_affine.kernels.h"

namespace caracal {

using f16 = __half;
__device__ inline float to_float(f16 v) { return __half2float(v); }

template <class S, class T>
__device__ inline void dequantize_affine(const unsigned char* codes, const S* scales, const S* biases, T* y,
                                         long long count, int count_of_group, int bits) {
  const long long i = grid_thread_index();
  if (i >= count) return;
  unsigned long long packed = 0;
  for (int b = 0; b < bits; b++) packed |= static_cast<unsigned long long>(codes[i * bits + b]) << (8 * b);
  const float scale = to_float(scales[i / count_of_group]);
  const float bias = biases ? to_float(biases[i / count_of_group]) : 0;
  const float middle = static_cast<float>(1 << (bits - 1));
  float v[8];
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const float q = static_cast<float>(static_cast<unsigned>(packed >> (j * bits)) & ((1u << bits) - 1));
    // Not to be fused: an FMA would round differently from backends without one.
    v[j] = biases ? __fadd_rn(__fmul_rn(scale, q), bias) : scale * (q - middle);
  }
  store<8>(y + i * 8, v);
}

#define CARACAL_DEQUANTIZE_AFFINE(S, T)                                                                         \
  CARACAL_KERNEL(kDequantizeAffine, dequantize_affine_##S##_##T, , const unsigned char* codes, const S* scales, \
                 const S* biases, T* y, long long count, int count_of_group, int bits) {                        \
    dequantize_affine(codes, scales, biases, y, count, count_of_group, bits);                                   \
  }
CARACAL_DEQUANTIZE_AFFINE(f32, f32)
CARACAL_DEQUANTIZE_AFFINE(f32, bf16)
CARACAL_DEQUANTIZE_AFFINE(f16, f32)
CARACAL_DEQUANTIZE_AFFINE(f16, bf16)
CARACAL_DEQUANTIZE_AFFINE(bf16, f32)
CARACAL_DEQUANTIZE_AFFINE(bf16, bf16)
#undef CARACAL_DEQUANTIZE_AFFINE

}  // namespace caracal

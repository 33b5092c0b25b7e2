#pragma once
// The affine codes of packed weights, in the layout of cuda/packed_weight.h: weight = scale * code + bias.
#include <cuda_fp16.h>

#include <type_traits>

#include "cuda/device/element.cuh"
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

struct q4 {
  uint8_t bits;  // two codes
};
struct q8 {
  uint8_t bits;
};

template <class W>
inline constexpr bool kIsCode = std::is_same_v<W, q4> || std::is_same_v<W, q8>;

// The number of W that hold `elements` elements of a row.
template <class W>
__device__ inline constexpr long long stored(long long elements) {
  return std::is_same_v<W, q4> ? elements / 2 : elements;
}

// The address of element k of a row of `depth` elements; for codes, of the word that holds elements k to k + 7 (q4) or
// k to k + 3 (q8), where k is a multiple of 8.
template <class W>
__device__ inline const W* element(const void* rows, long long row, long long depth, long long k) {
  if constexpr (std::is_same_v<W, q8>) k -= k % kCodeBlock / 2;
  return static_cast<const W*>(rows) + stored<W>(row * depth + k);
}

// Eight codes of a row from element() on.
__device__ inline void load_codes(const q4* from, float (&v)[8]) {
  const uint32_t word = *reinterpret_cast<const uint32_t*>(from);
#pragma unroll
  for (int i = 0; i < 8; i++) v[i] = static_cast<float>(word >> (i / 2 + i % 2 * 4) * 4 & 15);
}
__device__ inline void load_codes(const q8* from, float (&v)[8]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t word = *reinterpret_cast<const uint32_t*>(from + half * kCodeBlock / 2) ^ 0x80808080;
#pragma unroll
    for (int i = 0; i < 4; i++) v[half * 4 + i] = static_cast<float>(word >> (i / 2 + i % 2 * 2) * 8 & 255);
  }
}

// --- two codes as bf16, less half their range -----------------------------------------------------------------------

template <class W>
inline constexpr int kHalfRange = std::is_same_v<W, q4> ? 8 : 128;
// The words that hold eight neighbouring codes.
template <class W>
inline constexpr int kCodeWords = std::is_same_v<W, q4> ? 1 : 2;

__device__ inline uint32_t add_bf16x2(uint32_t a, uint32_t b) {
  const __nv_bfloat162 sum =
      __hadd2(reinterpret_cast<const __nv_bfloat162&>(a), reinterpret_cast<const __nv_bfloat162&>(b));
  return reinterpret_cast<const uint32_t&>(sum);
}

// Codes 2 `pair` and 2 `pair` + 1 of eight. In the seven bits of a bf16's fraction below 2^8, a code reads as 128 + code,
// and all sums are exact.
__device__ inline uint32_t widen_pair(q4, const uint32_t (&words)[1], int pair) {
  return add_bf16x2((words[0] >> pair * 4 & 0x000f000f) | 0x43004300, 0xc308c308);  // 128 + code - 136
}
__device__ inline uint32_t widen_pair(q8, const uint32_t (&words)[2], int pair) {
  const uint32_t codes = words[pair / 2] >> pair % 2 * 8;
  const uint32_t low = (codes & 0x007f007f) | 0x43004300;  // 128 + the low seven bits
  const uint32_t top = (codes & 0x00800080) | 0xc300c300;  // -128, or -256 where the top bit is set
  return add_bf16x2(low, top);
}

// --- scales and biases ----------------------------------------------------------------------------------------------

template <int N>
struct ScalesAndBiases {
  float scale[N], bias[N];
};

// Those of N neighbouring columns of a group.
template <int N>
__device__ inline ScalesAndBiases<N> load_pairs(ScaleType type, const void* group, long long column) {
  float v[2 * N];
  if (type == ScaleType::f32) {
    load<2 * N>(static_cast<const float*>(group) + column * 2, v);
  } else if (type == ScaleType::bf16) {
    load<2 * N>(static_cast<const bf16*>(group) + column * 2, v);
  } else {
    const auto raw = *reinterpret_cast<const Vector<__half2, N>*>(static_cast<const __half2*>(group) + column);
#pragma unroll
    for (int j = 0; j < N; j++) {
      v[2 * j] = __low2float(raw.v[j]);
      v[2 * j + 1] = __high2float(raw.v[j]);
    }
  }
  ScalesAndBiases<N> pairs;
#pragma unroll
  for (int j = 0; j < N; j++) {
    pairs.scale[j] = v[2 * j];
    pairs.bias[j] = v[2 * j + 1];
  }
  return pairs;
}

}  // namespace caracal

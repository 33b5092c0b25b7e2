// Memory-bound, run once at load: every byte of an f8e4m3 matrix or of codes is read and written once. Weights of other
// dtypes are plain copies.
#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "cuda/gemm/codes.cuh"
#include "ops/linear/pack_weight.kernels.h"

namespace caracal {

// V bytes per thread: 16 if both sides are aligned to 16 bytes, else 1.
template <int V>
__device__ inline void pack_weight(const uint8_t* from, uint8_t* to, long long n, Fault* fault) {
  const long long at = grid_thread_index() * V;
  if (at >= n) return;
  alignas(16) uint8_t v[V];
  if constexpr (V == 16)
    *reinterpret_cast<uint4*>(v) = *reinterpret_cast<const uint4*>(from + at);
  else
    v[0] = from[at];
#pragma unroll
  for (int i = 0; i < V; i++)
    if ((v[i] & 0x7f) == 0x7f) raise(fault, 0, at + i, v[i]);  // NaN
  if constexpr (V == 16)
    *reinterpret_cast<uint4*>(to + at) = *reinterpret_cast<const uint4*>(v);
  else
    to[at] = v[0];
}

CARACAL_KERNEL(kPackF8e4m3, pack_weight_f8e4m3, , const uint8_t* from, uint8_t* to, long long n, bool aligned,
               Fault* fault) {
  if (aligned)
    pack_weight<16>(from, to, n, fault);
  else
    pack_weight<1>(from, to, n, fault);
}

// --- codes ----------------------------------------------------------------------------------------------------------

// Eight codes are whole bytes whatever their bits, and so are rows: a thread rewrites eight codes.
__device__ inline void store_octet(q4*, uint8_t* packed, long long octet, uint64_t codes, int bits) {
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 8; i++)
    word |= static_cast<uint32_t>(codes >> i * bits & ((1u << bits) - 1)) << (i / 2 + i % 2 * 4) * 4;
  reinterpret_cast<uint32_t*>(packed)[octet] = word;
}
__device__ inline void store_octet(q8*, uint8_t* packed, long long octet, uint64_t codes, int bits) {
  uint32_t words[2] = {0x80808080, 0x80808080};
#pragma unroll
  for (int i = 0; i < 8; i++)
    words[i / 4] ^= static_cast<uint32_t>(codes >> i * bits & ((1u << bits) - 1)) << (i % 4 / 2 + i % 2 * 2) * 8;
  uint32_t* block = reinterpret_cast<uint32_t*>(packed) + octet / 4 * 8 + octet % 4;
  block[0] = words[0];
  block[4] = words[1];
}

template <class W>
__device__ inline void pack_codes(const uint8_t* from, uint8_t* packed, long long octets, int bits) {
  const long long octet = grid_thread_index();
  if (octet >= octets) return;
  uint64_t codes = 0;
#pragma unroll
  for (int i = 0; i < 8; i++)
    if (i < bits) codes |= static_cast<uint64_t>(from[octet * bits + i]) << i * 8;
  store_octet(static_cast<W*>(nullptr), packed, octet, codes, bits);
}

#define CARACAL_PACK_CODES(W)                                                                                 \
  CARACAL_KERNEL(kPackCodes, pack_weight_codes_##W, , const uint8_t* from, uint8_t* packed, long long octets, \
                 int bits) {                                                                                  \
    pack_codes<W>(from, packed, octets, bits);                                                                \
  }
CARACAL_PACK_CODES(q4)
CARACAL_PACK_CODES(q8)
#undef CARACAL_PACK_CODES

__device__ inline float times(float v, float factor) { return v * factor; }
__device__ inline bf16 times(bf16 v, float factor) { return __float2bfloat16_rn(__bfloat162float(v) * factor); }
__device__ inline __half times(__half v, float factor) { return __float2half_rn(__half2float(v) * factor); }

// A thread writes the pair of a column and a group; lanes are neighbouring columns.
template <class T>
__device__ inline void pack_pairs(const PairSources& p) {
  const long long at = grid_thread_index(), column = at % p.columns, group = at / p.columns;
  if (group >= p.groups) return;
  const long long from = column * p.groups + group;
  Vector<T, 2> pair = {};
  if (column < p.n) {
    pair.v[0] = static_cast<const T*>(p.scales)[from];
    pair.v[1] = p.biases ? static_cast<const T*>(p.biases)[from] : times(pair.v[0], p.bias_factor);
  }
  static_cast<Vector<T, 2>*>(p.pairs)[at] = pair;
}

#define CARACAL_PACK_PAIRS(name, T) \
  CARACAL_KERNEL(kPackPairs, pack_weight_pairs_##name, , PairSources p) { pack_pairs<T>(p); }
CARACAL_PACK_PAIRS(f32, float)
CARACAL_PACK_PAIRS(bf16, bf16)
CARACAL_PACK_PAIRS(f16, __half)
#undef CARACAL_PACK_PAIRS

}  // namespace caracal

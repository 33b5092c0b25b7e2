// Memory-bound, run once at load: every byte of an f8e4m3 matrix is read and written once. Weights of other dtypes are
// plain copies.
#include <cstdint>

#include "cuda/device/index.cuh"
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

}  // namespace caracal

// Memory-bound: of every pick with a row D elements are read, and D of x (where a zero expert is among the picks) and
// of the residual; D are written. 8 rows of 6144 bf16 and those three: 132 KiB a token. A thread for each 16 bytes of
// an output row, which takes the picks in their order.
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/fault.h"
#include "ops/moe/combine.kernels.h"

namespace caracal {

// The picks that have rows, in their order, some at a time.
struct RoutedPicks {
  int count;
  int slots[kWarp];
  float weights[kWarp];
};

// By one warp: those of picks first ... first + 31 of a token.
__device__ inline void find_routed(const CombineParameters& p, long long token, int first, RoutedPicks& out,
                                   Fault* fault) {
  const int lane = static_cast<int>(threadIdx.x), pick = first + lane;
  const long long at = token * p.picks + pick;
  int slot = pick < p.picks ? p.slot_of[at] : -1;
  if (slot < -1 || slot >= p.rows) {
    if (blockIdx.y == 0) raise(fault, 0, at, slot);
    slot = -1;
  }
  const uint32_t routed = __ballot_sync(kAllLanes, slot >= 0);
  if (lane == 0) out.count = __popc(routed);
  if (slot < 0) return;
  const int place = __popc(routed & ((1u << lane) - 1));
  out.slots[place] = slot;
  out.weights[place] = p.weights[at];
}

// V elements at a time: 1 where rows are not aligned to 16 bytes.
template <class T, int V>
__device__ inline void combine(const CombineParameters& p, Fault* fault) {
  __shared__ RoutedPicks routed;
  const long long token = blockIdx.x;
  const long long column = (static_cast<long long>(blockIdx.y) * blockDim.x + threadIdx.x) * V;
  const long long at = token * p.columns + column;
  const bool there = column < p.columns;
  const float identity = p.zero_weight[token];
  float sum[V] = {};
  if (there && p.residual) load<V>(static_cast<const T*>(p.residual) + at, sum);
  if (there && identity != 0) {  // else zero times an infinite x would be NaN
    float v[V];
    load<V>(static_cast<const T*>(p.x) + at, v);
#pragma unroll
    for (int j = 0; j < V; j++) sum[j] = fmaf(identity, v[j], sum[j]);
  }
  for (int first = 0; first < p.picks; first += kWarp) {
    __syncthreads();  // whoever reads the picks before
    if (threadIdx.x < kWarp) find_routed(p, token, first, routed, fault);
    __syncthreads();
    if (!there) continue;
#pragma unroll 4  // as many rows on their way
    for (int i = 0; i < routed.count; i++) {
      float v[V];
      load<V>(static_cast<const T*>(p.y) + routed.slots[i] * p.columns + column, v);
#pragma unroll
      for (int j = 0; j < V; j++) sum[j] = fmaf(routed.weights[i], v[j], sum[j]);
    }
  }
  if (there) store<V>(static_cast<T*>(p.out) + at, sum);
}

#define CARACAL_COMBINE(T)                                                                             \
  CARACAL_KERNEL(kCombine, combine_##T, , const __grid_constant__ CombineParameters p, Fault* fault) { \
    if (p.aligned)                                                                                     \
      combine<T, kVector<T>>(p, fault);                                                                \
    else                                                                                               \
      combine<T, 1>(p, fault);                                                                         \
  }
CARACAL_COMBINE(f32)
CARACAL_COMBINE(bf16)
#undef CARACAL_COMBINE

}  // namespace caracal

// Memory-bound: reads D elements for every pick that has a row, D of x for tokens with a zero expert among their picks
// and D of the residual; writes D. For 8 rows of 6144 bf16, x, the residual and the output, that is 132 KiB per token.
// Each thread computes 16 bytes of an output row and goes through the picks in order.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "cuda/fault.h"
#include "ops/moe/combine.kernels.h"

namespace caracal {

// Up to a warp's worth of the picks that have rows, in order.
struct RoutedPicks {
  int count;
  int slots[kWarp];
  float weights[kWarp];
};

// Called by the first warp of the block, for picks first ... first + 31 of a token.
__device__ inline void find_routed(const CombineParameters& p, long long token, int first, RoutedPicks& out,
                                   Fault* fault) {
  const int lane = thread_index(), pick = first + lane;
  const long long at = token * p.picks + pick;
  int slot = pick < p.picks ? p.slot_of[at] : -1;
  if (slot < -1 || slot >= p.rows) {
    if (blockIdx.y == 0) raise(fault, 0, at, slot);
    slot = -1;
  }
  const uint32_t routed = __ballot_sync(kAllLanes, slot >= 0);
  if (lane == 0) out.count = __popc(routed);
  if (slot < 0) return;
  const int index = __popc(routed & ((1u << lane) - 1));
  out.slots[index] = slot;
  out.weights[index] = p.weights[at];
}

// V elements at a time: 1 if rows are not aligned to 16 bytes.
template <class T, int V>
__device__ inline void combine(const CombineParameters& p, Fault* fault) {
  __shared__ RoutedPicks routed;
  const long long token = blockIdx.x;
  const long long column = (static_cast<long long>(blockIdx.y) * blockDim.x + threadIdx.x) * V;
  const long long at = token * p.columns + column;
  const bool in_bounds = column < p.columns;
  const float zero_weight = p.zero_weight[token];
  float sum[V] = {};
  if (in_bounds && p.residual) load<V>(static_cast<const T*>(p.residual) + at, sum);
  if (in_bounds && zero_weight != 0) {  // without zero experts x is not read: zero times an infinite x would be NaN
    float v[V];
    load<V>(static_cast<const T*>(p.x) + at, v);
#pragma unroll
    for (int j = 0; j < V; j++) sum[j] = fmaf(zero_weight, v[j], sum[j]);
  }
  for (int first = 0; first < p.picks; first += kWarp) {
    __syncthreads();  // wait until all threads have read the previous picks
    if (threadIdx.x < kWarp) find_routed(p, token, first, routed, fault);
    __syncthreads();
    if (!in_bounds) continue;
#pragma unroll 4  // keeps four rows in flight
    for (int i = 0; i < routed.count; i++) {
      float v[V];
      load<V>(static_cast<const T*>(p.y) + routed.slots[i] * p.columns + column, v);
#pragma unroll
      for (int j = 0; j < V; j++) sum[j] = fmaf(routed.weights[i], v[j], sum[j]);
    }
  }
  if (in_bounds) store<V>(static_cast<T*>(p.out) + at, sum);
}

#define CARACAL_COMBINE(T)                                                                             \
  CARACAL_KERNEL(kCombine, combine_##T, , const __grid_constant__ CombineParameters p, Fault* fault) { \
    if (p.aligned)                                                                                     \
      combine<T, kVector<T>>(p, fault);                                                                \
    else                                                                                               \
      combine<T, 1>(p, fault);                                                                         \
  }
static_assert(kCombineThreads % kWarp == 0, "find_routed needs a whole warp");
CARACAL_COMBINE(f32)
CARACAL_COMBINE(bf16)
#undef CARACAL_COMBINE

}  // namespace caracal

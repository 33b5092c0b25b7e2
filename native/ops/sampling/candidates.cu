// Memory-bound: every allowed logit is read once: 262 KB for a row of 131072 in bf16. A warp to each part of a row
// leaves the part's best candidate, 8 bytes, of which argmax and sample go on.
#include "ops/sampling/candidates.cuh"

namespace caracal {

// best[row][part]; 0, which no candidate is, where a part has no allowed id.
template <int V, class T>
__device__ inline void best_candidates(const T* logits, long long rows, long long columns, const AllowedIds& allowed,
                                       u64* best) {
  const long long part = (blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x) / kWarp;
  if (part >= rows * allowed.parts) return;
  const int which = static_cast<int>(part % allowed.parts), lane = static_cast<int>(threadIdx.x) % kWarp;
  u64 top = 0;
  for_candidates<V>(logits + part / allowed.parts * columns, allowed, allowed.part_begin(which),
                    allowed.part_end(which), lane, kWarp, [&](float logit, long long id) {
                      const u64 c = candidate_of(logit, id);
                      top = c > top ? c : top;
                    });
  top = warp_max(top);
  if (lane == 0) best[part] = top;
}

#define CARACAL_BEST_CANDIDATES(T)                                                                           \
  CARACAL_KERNEL(kBestCandidates, best_candidates_##T, , const T* logits, long long rows, long long columns, \
                 const __grid_constant__ AllowedIds allowed, u64* best, bool aligned) {                      \
    if (aligned)                                                                                             \
      best_candidates<kVector<T>>(logits, rows, columns, allowed, best);                                     \
    else                                                                                                     \
      best_candidates<1>(logits, rows, columns, allowed, best);                                              \
  }
CARACAL_BEST_CANDIDATES(f32)
CARACAL_BEST_CANDIDATES(bf16)
#undef CARACAL_BEST_CANDIDATES

CARACAL_KERNEL(kPutIdBounds, put_id_bounds, , int* to, int n, const __grid_constant__ IdBounds bounds) {
  for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) to[i] = bounds.at[i];
}

}  // namespace caracal

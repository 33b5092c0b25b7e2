// Memory-bound: every allowed logit is read once, 262 KB per row of 131072 bf16. One warp per part of a row leaves the
// part's best candidate, 8 bytes, for argmax and sample.
#include "ops/sampling/candidates.cuh"

namespace caracal {

static_assert(kCandidateParts * kWarp == kCandidateThreads, "the host counts one warp per part");

// best[row][part]: the best candidate, or 0, which is below every candidate, if no id of the part is allowed.
template <int V, class T>
__device__ inline void best_candidates(const T* logits, long long rows, long long columns, const AllowedIds& allowed,
                                       u64* best) {
  const long long index = grid_thread_index() / kWarp;
  if (index >= rows * allowed.parts) return;
  const int part = static_cast<int>(index % allowed.parts), lane = lane_index();
  u64 top = 0;
  for_candidates<V>(logits + index / allowed.parts * columns, allowed, allowed.part_begin(part), allowed.part_end(part),
                    lane, kWarp, [&](float logit, long long id) {
                      const u64 candidate = candidate_of(logit, id);
                      top = candidate > top ? candidate : top;
                    });
  top = warp_max(top);
  if (lane == 0) best[index] = top;
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

CARACAL_KERNEL(kPutIdBounds, put_id_bounds, , int* to, int n, const __grid_constant__ IdBounds from) {
  for (int i = thread_index(); i < n; i += thread_count()) to[i] = from.bounds[i];
}

}  // namespace caracal

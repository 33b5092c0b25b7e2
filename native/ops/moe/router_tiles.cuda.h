#pragma once
// Chooses among the router's kernels: pure functions of sizes.
#include "cuda/gemm/tiles.h"
#include "ops/moe/router.kernels.h"

namespace caracal::cuda {

inline GemmTile logit_tile(const LogitShape& s) {
  return {s.name, s.tile_rows(), s.tile_columns(), static_cast<unsigned>(s.threads()), s.stages};
}

inline GemmTile logit_tile(int64_t m, int64_t n, DType x, DType w, int sms) {
  const bool fills_gpu = tile_count(logit_tile(kLogitsLarge), m, n) >= sms;
  const LogitShape& chosen = fills_gpu                        ? kLogitsLarge
                             : m <= kLogitsOne.tile_rows()    ? kLogitsOne
                             : m <= kLogitsMedium.tile_rows() ? kLogitsSmall
                                                              : kLogitsMedium;
  GemmTile tile = logit_tile(chosen);
  tile.shared_bytes = chosen.ring_bytes(dtype_bytes(x), dtype_bytes(w));
  return tile;
}

// The variant of kRouterPicks for `all` experts: how many of their scores a lane keeps in registers, or 0.
inline int lane_scores(int64_t all) {
  for (int scores : kLaneScores)
    if (all <= scores * 32) return scores;
  return 0;
}

}  // namespace caracal::cuda

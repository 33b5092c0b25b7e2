// Two kernels with the logits between them (f32, 3 KiB per token of 512 + 256 experts, which stay in L2 for small
// batches).
//
// The product: 2 T 768 6144 FLOP; reads 18.9 MB of f32 classifier and 12 KiB of bf16 x per token. Memory-bound up to about
// twenty tokens, then bound by f32 arithmetic: 77 GFLOP at 8192 tokens.
// The picks: one warp per token reads its logits once into registers and writes 12 ids and 12 weights.
#include "ops/moe/router_logits.cuh"
#include "ops/moe/router_picks.cuh"

namespace caracal {

#define CARACAL_LOGITS(X, W, Shape, tile)                                                                 \
  static_assert(std::string_view(Shape.name) == #tile, "the host launches this tile under another name"); \
  CARACAL_KERNEL(kRouterLogits, router_logits_##tile##_##X##_##W, __launch_bounds__(Shape.threads(), 1),  \
                 const __grid_constant__ GemmOperands p, float* logits) {                                 \
    router_logits<LogitTile<Shape>, X, W>(p, logits);                                                     \
  }
#define CARACAL_LOGITS_TILES(X, W)            \
  CARACAL_LOGITS(X, W, kLogitsOne, one)       \
  CARACAL_LOGITS(X, W, kLogitsSmall, small)   \
  CARACAL_LOGITS(X, W, kLogitsMedium, medium) \
  CARACAL_LOGITS(X, W, kLogitsLarge, large)
CARACAL_LOGITS_TILES(f32, f32)
CARACAL_LOGITS_TILES(f32, bf16)
CARACAL_LOGITS_TILES(bf16, f32)
CARACAL_LOGITS_TILES(bf16, bf16)
#undef CARACAL_LOGITS_TILES
#undef CARACAL_LOGITS

// A lane keeps N scores in registers; with N = 0 they stay in memory.
#define CARACAL_PICKS(N)                                                                            \
  CARACAL_KERNEL(kRouterPicks, router_picks_##N, __launch_bounds__(kPickTokens* kWarp),             \
                 const __grid_constant__ RouterParameters p) {                                      \
    const long long token = static_cast<long long>(blockIdx.x) * kPickTokens + threadIdx.x / kWarp; \
    if (token >= p.tokens) return;                                                                  \
    Scores<N> scores(p, p.logits + token * p.all);                                                  \
    pick_experts(scores, p, token);                                                                 \
  }
CARACAL_PICKS(0)
CARACAL_PICKS(8)
CARACAL_PICKS(24)
#undef CARACAL_PICKS
static_assert(kLaneScores[0] == 8 && kLaneScores[1] == 24, "the host launches other variants");

}  // namespace caracal

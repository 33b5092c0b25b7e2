// Two kernels, with the logits between them (f32, 3 KiB a token of 512 + 256 experts, which stay in the L2 of few).
//
// The product: 2 T 768 6144 FLOP; 18.9 MB of f32 classifier, 12 KiB of bf16 x a token. Memory-bound up to some twenty
// tokens; from there on f32 arithmetic is the bound, at 8192 tokens 77 GFLOP.
// The picks: a warp per token, whose logits are read once into registers; 12 ids and 12 weights are written.
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

// A lane has N scores in registers; 0: they stay in memory.
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

}  // namespace caracal

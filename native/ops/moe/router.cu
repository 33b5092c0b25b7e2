// Two kernels, with the logits between them (f32, 3 KiB a token of 512 + 256 experts, which stay in the L2 of few).
//
// The product: 2 T 768 6144 FLOP; 18.9 MB of f32 classifier, 12 KiB of bf16 x a token. Memory-bound up to some twenty
// tokens; from there on f32 arithmetic is the bound, at 8192 tokens 77 GFLOP.
// The picks: a warp per token, whose logits are read once into registers; 12 ids and 12 weights are written.
#include "ops/moe/router_logits.cuh"
#include "ops/moe/router_picks.cuh"

namespace caracal {

// The host knows them from router_tiles.h.
using LogitsOne = LogitTile<1, 8, 1, 1, 256, 5>;    // one token: the classifier streams
using LogitsSmall = LogitTile<1, 8, 8, 1, 256, 4>;  // up to eight share its stream
using LogitsMedium = LogitTile<4, 4, 8, 4, 64, 4>;  // many blocks of few tokens
using LogitsLarge = LogitTile<8, 2, 8, 16, 64, 4>;  // the most sums that the registers hold

#define CARACAL_LOGITS(X, W, Tile, tile)                                                        \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads, 1)                               \
      router_logits_##tile##_##X##_##W(const __grid_constant__ GemmOperands p, float* logits) { \
    router_logits<Tile, X, W>(p, logits);                                                       \
  }
#define CARACAL_LOGITS_TILES(X, W)           \
  CARACAL_LOGITS(X, W, LogitsOne, one)       \
  CARACAL_LOGITS(X, W, LogitsSmall, small)   \
  CARACAL_LOGITS(X, W, LogitsMedium, medium) \
  CARACAL_LOGITS(X, W, LogitsLarge, large)
CARACAL_LOGITS_TILES(f32, f32)
CARACAL_LOGITS_TILES(f32, bf16)
CARACAL_LOGITS_TILES(bf16, f32)
CARACAL_LOGITS_TILES(bf16, bf16)
#undef CARACAL_LOGITS_TILES
#undef CARACAL_LOGITS

// A lane has N scores in registers; 0: they stay in memory.
#define CARACAL_PICKS(N)                                                                                           \
  extern "C" __global__ void __launch_bounds__(128) router_picks_##N(const __grid_constant__ RouterParameters p) { \
    const long long token = blockIdx.x * 4ll + threadIdx.x / kWarp;                                                \
    if (token >= p.tokens) return;                                                                                 \
    Scores<N> scores(p, p.logits + token * p.all);                                                                 \
    pick_experts(scores, p, token);                                                                                \
  }
CARACAL_PICKS(0)
CARACAL_PICKS(8)
CARACAL_PICKS(24)
#undef CARACAL_PICKS

}  // namespace caracal

#pragma once
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

// A tile of the product, x . classifier^T, by units_m x units_n half-warps of rows x columns sums each; depth is the k
// per stage of the ring. Every tile sums in the same order, so the choice changes no bits.
struct LogitShape {
  char name[8];
  int units_m, units_n, rows, columns, depth, stages;

  constexpr int tile_rows() const { return units_m * rows; }
  constexpr int tile_columns() const { return units_n * columns; }
  constexpr int threads() const { return units_m * units_n * 16; }
};
inline constexpr LogitShape kLogitsOne{"one", 1, 8, 1, 1, 256, 5};       // for one token: the classifier streams
inline constexpr LogitShape kLogitsSmall{"small", 1, 8, 8, 1, 256, 4};   // for up to 8 tokens, which share its stream
inline constexpr LogitShape kLogitsMedium{"medium", 4, 4, 8, 4, 64, 4};  // many blocks with few tokens each
inline constexpr LogitShape kLogitsLarge{"large", 8, 2, 8, 16, 64, 4};   // as many sums as the registers hold

inline constexpr Kernel<GemmOperands, float*> kRouterLogits{"router_logits"};  // router_logits_<tile>_<x>_<w>

inline constexpr int kPickTokens = 4;  // in a block of the kernel that picks, a warp for each

struct RouterParameters {
  float* logits;  // [tokens, all]; where they have no room in registers, they are overwritten
  const float* bias;
  int* ids;            // [tokens, picks]
  float* weights;      // [tokens, picks]
  float* zero_weight;  // [tokens]
  long long tokens;
  int all, experts, picks;
  float scale;
  bool renormalize, scale_zero_experts;
  bool aligned;  // four logits, and four of the bias, can be moved at a time
};

// router_picks_<N>: a lane keeps N scores in registers; with N = 0 they stay in memory.
inline constexpr Kernel<RouterParameters> kRouterPicks{"router_picks"};

}  // namespace caracal

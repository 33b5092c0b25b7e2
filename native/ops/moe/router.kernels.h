#pragma once
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

// A tile of the product x . classifier^T. It has units_m x units_n half-warps, each of which computes rows x columns
// sums; `depth` is the k per stage of the ring in dynamic shared memory. All tiles sum in the same order, so the choice
// changes no bits.
struct LogitShape {
  char name[8];
  int units_m, units_n, rows, columns, depth, stages;

  constexpr int tile_rows() const { return units_m * rows; }
  constexpr int tile_columns() const { return units_n * columns; }
  constexpr int threads() const { return units_m * units_n * 16; }
  constexpr size_t ring_bytes(size_t x_bytes, size_t weight_bytes) const {  // bytes per element
    return static_cast<size_t>(stages * depth) *
           (static_cast<size_t>(tile_rows()) * x_bytes + static_cast<size_t>(tile_columns()) * weight_bytes);
  }
};
inline constexpr LogitShape kLogitsOne{"one", 1, 8, 1, 1, 256, 5};       // for one token: streams the classifier
inline constexpr LogitShape kLogitsSmall{"small", 1, 8, 8, 1, 256, 4};   // 8 tokens share the stream, for up to 32
inline constexpr LogitShape kLogitsMedium{"medium", 4, 4, 8, 4, 64, 4};  // many blocks with few tokens each
inline constexpr LogitShape kLogitsLarge{"large", 8, 2, 8, 16, 64, 4};   // as many sums as the registers hold

inline constexpr Kernel<GemmOperands, float*> kRouterLogits{"router_logits"};  // router_logits_<tile>_<x>_<w>

inline constexpr int kPickTokens = 4;  // per block of the picking kernel, one warp each

struct RouterParameters {
  float* logits;  // [tokens, all]; overwritten if they do not fit in registers
  const float* bias;
  int* ids;            // [tokens, picks]
  float* weights;      // [tokens, picks]
  float* zero_weight;  // [tokens]
  long long tokens;
  int all, experts, picks;
  float scale;
  bool renormalize, scale_zero_experts;
  bool aligned;  // logits and bias can be moved four at a time
};

// router_picks_<N>: a lane keeps N scores in registers; with N = 0 they stay in memory.
inline constexpr Kernel<RouterParameters> kRouterPicks{"router_picks"};
inline constexpr int kLaneScores[] = {8, 24};

}  // namespace caracal

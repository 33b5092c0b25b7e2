#pragma once
// The tiles of the router's product and the choice among them. Every tile sums in the same order, so the choice changes
// no bits.
#include "cuda/gemm/tiles.h"

namespace caracal::cuda {

struct LogitTile {
  GemmTile tile;
  int64_t depth;  // k per stage
};
inline constexpr LogitTile kLogitTiles[] = {{{"one", 1, 8, 128, 5}, 256},
                                            {{"small", 8, 8, 128, 4}, 256},
                                            {{"medium", 32, 16, 256, 4}, 64},
                                            {{"large", 64, 32, 256, 4}, 64}};

inline GemmTile logit_tile(int64_t m, int64_t n, DType x, DType w, int sms) {
  const auto& [one, small, medium, large] = kLogitTiles;
  const bool many = tile_count(large.tile, m, n) >= sms;
  const LogitTile& chosen = many ? large : m <= one.tile.rows ? one : m <= medium.tile.rows ? small : medium;
  GemmTile tile = chosen.tile;
  const size_t row_bytes = static_cast<size_t>(tile.stages * chosen.depth);
  tile.shared_bytes = row_bytes * (tile.rows * dtype_bytes(x) + tile.columns * dtype_bytes(w));
  return tile;
}

}  // namespace caracal::cuda

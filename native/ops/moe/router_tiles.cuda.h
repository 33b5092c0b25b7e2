#pragma once
// The choice among the tiles of the router's product.
#include "cuda/gemm/tiles.h"
#include "ops/moe/router.kernels.h"

namespace caracal::cuda {

inline GemmTile logit_tile(const LogitShape& s) {
  return {s.name, s.tile_rows(), s.tile_columns(), static_cast<unsigned>(s.threads()), s.stages};
}

inline GemmTile logit_tile(int64_t m, int64_t n, DType x, DType w, int sms) {
  const bool many = tile_count(logit_tile(kLogitsLarge), m, n) >= sms;
  const LogitShape& chosen = many                             ? kLogitsLarge
                             : m <= kLogitsOne.tile_rows()    ? kLogitsOne
                             : m <= kLogitsMedium.tile_rows() ? kLogitsSmall
                                                              : kLogitsMedium;
  GemmTile tile = logit_tile(chosen);
  const size_t row_bytes = static_cast<size_t>(tile.stages * chosen.depth);
  tile.shared_bytes = row_bytes * (tile.rows * dtype_bytes(x) + tile.columns * dtype_bytes(w));
  return tile;
}

}  // namespace caracal::cuda

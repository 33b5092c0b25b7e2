#pragma once
// Maps blocks to tiles of the output. Blocks that run at the same time cover a few rows of tiles by many columns of tiles,
// so that they share x and the weights through the L2.
#include "core/math.h"

namespace caracal {

struct TilePosition {
  long long row, column;  // the tile's first
};

// The tile of block `block` of an m x n product.
template <int TileM, int TileN>
__device__ inline TilePosition tile_position(long long m, long long n, long long block = blockIdx.x) {
  constexpr long long kGroupRows = 8;  // in tiles
  const long long tile_rows = divide_up(m, TileM), tile_columns = divide_up(n, TileN);
  const long long group = block / (kGroupRows * tile_columns), in_group = block % (kGroupRows * tile_columns);
  const long long height = min(kGroupRows, tile_rows - group * kGroupRows);
  return {(group * kGroupRows + in_group % height) * TileM, in_group / height * TileN};
}

}  // namespace caracal

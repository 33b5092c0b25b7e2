#pragma once
// Which tile of the output a block makes. Blocks that run together take a few tiles of rows by many of columns, so
// that what they read of x and of the weights is shared through the L2.
namespace caracal {

struct TilePosition {
  long long row;  // the first of the tile
  long long column;
};

// `block` counts the product's blocks.
template <int TileM, int TileN>
__device__ inline TilePosition tile_position(long long m, long long n, long long block = blockIdx.x) {
  constexpr long long kGroup = 8;  // tiles of rows
  const long long down = (m + TileM - 1) / TileM, across = (n + TileN - 1) / TileN;
  const long long group = block / (kGroup * across), within = block % (kGroup * across);
  const long long height = min(kGroup, down - group * kGroup);
  return {(group * kGroup + within % height) * TileM, within / height * TileN};
}

}  // namespace caracal

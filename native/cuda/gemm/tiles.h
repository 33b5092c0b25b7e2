#pragma once
// The tiles of the matrix kernels and the choice among them: small functions of sizes. Every tile of a kind sums in the
// same order, so the choice changes no bits.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace caracal::cuda {

// A kernel's tile of the output. `columns` are of each weight's product.
struct GemmTile {
  const char* name;
  int64_t rows, columns;
  unsigned threads;
  int stages;  // of the ring in shared memory; 0 where that is static
  size_t shared_bytes = 0;
};

// For one weight and for two.
inline constexpr GemmTile kSimtTiles[2][2] = {{{"simt_small", 16, 32, 128, 0}, {"simt_large", 128, 128, 256, 0}},
                                              {{"simt_small", 16, 16, 128, 0}, {"simt_large", 128, 64, 256, 0}}};
inline constexpr GemmTile kTensorTiles[2][3] = {
    {{"tensor_small", 16, 32, 128, 8}, {"tensor_medium", 64, 64, 128, 4}, {"tensor_large", 128, 128, 256, 3}},
    {{"tensor_small", 16, 32, 128, 6}, {"tensor_medium", 64, 32, 128, 4}, {"tensor_large", 128, 64, 256, 3}}};
inline constexpr GemmTile kTensor96{"tensor_96", 32, 96, 128, 4};

inline int64_t tile_count(const GemmTile& t, int64_t m, int64_t n) {
  return (m + t.rows - 1) / t.rows * ((n + t.columns - 1) / t.columns);
}

// The largest tile reads least: it is for all but few rows, and for products that it would leave half of the
// multiprocessors without.
inline bool worth(const GemmTile& t, int64_t m, int64_t n, int sms) { return tile_count(t, m, n) * 2 >= sms; }

inline GemmTile simt_tile(int64_t m, int64_t n, int groups, int sms) {
  const auto& [small, large] = kSimtTiles[groups - 1];
  return m > small.rows && worth(large, m, n, sms) ? large : small;
}

// The ring's bytes, or those of the sums that pass through the same memory (tensor.cuh).
inline size_t tensor_shared_bytes(const GemmTile& t, int groups, DType w) {
  constexpr size_t kTileK = 64;
  const size_t rows = static_cast<size_t>(t.rows), columns = static_cast<size_t>(t.columns * groups);
  const size_t ring = static_cast<size_t>(t.stages) * kTileK * (rows * 2 + columns * dtype_bytes(w));
  return std::max(ring, rows * (columns + 8) * sizeof(float));
}

// bf16 rows by bf16 or f8e4m3 weights. The small tile's only use is for up to 16 rows: there it streams the weights.
inline GemmTile tensor_tile(int64_t m, int64_t n, int groups, DType w, int sms) {
  const auto& [small, medium, large] = kTensorTiles[groups - 1];
  GemmTile tile = m <= small.rows ? small : m > medium.rows && worth(large, m, n, sms) ? large : medium;
  tile.shared_bytes = tensor_shared_bytes(tile, groups, w);
  return tile;
}

// A convolution's, bf16 by bf16: of 96 channels, tiles of 64 columns would make a third more.
inline GemmTile conv_tile(int64_t m, int64_t n, int sms) {
  const GemmTile& medium = kTensorTiles[0][1];
  GemmTile tile = tensor_tile(m, n, 1, DType::bf16, sms);
  if (tile.rows != medium.rows ||
      tile_count(kTensor96, 1, n) * kTensor96.columns >= tile_count(medium, 1, n) * medium.columns)
    return tile;
  tile = kTensor96;
  tile.shared_bytes = tensor_shared_bytes(tile, 1, DType::bf16);
  return tile;
}

}  // namespace caracal::cuda

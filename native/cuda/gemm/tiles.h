#pragma once
// The choice among the tiles of gemm.kernels.h: pure functions of sizes. Every tile of a kind sums in the same order, so
// the choice changes no bits.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "cuda/gemm/gemm.kernels.h"

namespace caracal::cuda {

// A tile as a launch sees it.
struct GemmTile {
  const char* name;
  int64_t rows, columns;  // of one weight's product
  unsigned threads;
  int stages;  // of the ring in dynamic shared memory; 0 when shared memory is static
  size_t shared_bytes = 0;
};
constexpr GemmTile gemm_tile(const SimtShape& s) {
  return {s.name, s.rows, s.columns, static_cast<unsigned>(s.threads()), 0};
}
constexpr GemmTile gemm_tile(const TensorShape& s) {
  return {s.name, s.rows, s.columns, static_cast<unsigned>(s.threads()), s.stages};
}

inline int64_t tile_count(const GemmTile& t, int64_t m, int64_t n) {
  return (m + t.rows - 1) / t.rows * ((n + t.columns - 1) / t.columns);
}

// Whether the largest tile, which reads least, pays: with few rows, it would leave half of the multiprocessors idle.
inline bool worth(const GemmTile& t, int64_t m, int64_t n, int sms) { return tile_count(t, m, n) * 2 >= sms; }

inline GemmTile simt_tile(int64_t m, int64_t n, int groups, int sms) {
  const GemmTile small = gemm_tile(kSimtShapes[groups - 1][0]), large = gemm_tile(kSimtShapes[groups - 1][1]);
  return m > small.rows && worth(large, m, n, sms) ? large : small;
}

// The bytes of the ring, or of the sums that pass through the same memory (tensor.cuh) where those are more.
inline size_t tensor_shared_bytes(const GemmTile& t, int groups, DType w) {
  const size_t rows = static_cast<size_t>(t.rows), columns = static_cast<size_t>(t.columns * groups);
  const size_t ring = static_cast<size_t>(t.stages) * kTileK * (rows * 2 + columns * dtype_bytes(w));
  return std::max(ring, rows * (columns + 8) * sizeof(float));
}
inline GemmTile tensor_tile(const TensorShape& shape, int groups, DType w) {
  GemmTile tile = gemm_tile(shape);
  tile.shared_bytes = tensor_shared_bytes(tile, groups, w);
  return tile;
}

// bf16 rows by bf16 or f8e4m3 weights. The small tile is for up to 16 rows only: there it streams the weights.
inline GemmTile tensor_tile(int64_t m, int64_t n, int groups, DType w, int sms) {
  const auto& [small, medium, large] = kTensorShapes[groups - 1];
  const bool is_large = m > medium.rows && worth(gemm_tile(large), m, n, sms);
  return tensor_tile(m <= small.rows ? small : is_large ? large : medium, groups, w);
}

// For a convolution, bf16 by bf16: with 96 channels, tiles of 64 columns would compute a third more.
inline GemmTile conv_tile(int64_t m, int64_t n, int sms) {
  const TensorShape& medium = kTensorShapes[0][1];
  const GemmTile tile = tensor_tile(m, n, 1, DType::bf16, sms);
  auto columns = [n](const TensorShape& s) { return tile_count(gemm_tile(s), 1, n) * s.columns; };
  if (tile.rows != medium.rows || columns(kTensor96) >= columns(medium)) return tile;
  return tensor_tile(kTensor96, 1, DType::bf16);
}

}  // namespace caracal::cuda

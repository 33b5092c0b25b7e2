#pragma once
// Chooses among the tiles of gemm.kernels.h: pure functions of sizes. All SIMT tiles sum in the same order, and so do all
// tensor-core tiles, so the choice changes no bits.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/packed_weight.h"
#include "cuda/gemm/gemm.kernels.h"

namespace caracal::cuda {

// A tile as a launch sees it.
struct GemmTile {
  const char* name;
  int64_t rows, columns;  // of one weight's product
  unsigned threads;
  int stages;  // of the ring in dynamic shared memory; 0 if shared memory is static
  size_t shared_bytes = 0;
};
constexpr GemmTile gemm_tile(const SimtShape& s) {
  return {s.name, s.rows, s.columns, static_cast<unsigned>(s.threads()), 0};
}
constexpr GemmTile gemm_tile(const TensorShape& s) {
  return {s.name, s.rows, s.columns, static_cast<unsigned>(s.threads()), s.stages};
}

inline int64_t tile_count(const GemmTile& t, int64_t m, int64_t n) {
  return divide_up(m, t.rows) * divide_up(n, t.columns);
}

// Returns whether a product has a tile for half of the multiprocessors. The largest tile reads least, but with few rows it
// would leave most of the GPU idle.
inline bool fills_half_gpu(const GemmTile& t, int64_t m, int64_t n, int sms) { return tile_count(t, m, n) * 2 >= sms; }

// --- products with an f32 operand -----------------------------------------------------------------------------------

inline GemmTile simt_tile(int64_t m, int64_t n, int groups, int sms) {
  const GemmTile small = gemm_tile(kSimtShapes[groups - 1][0]), large = gemm_tile(kSimtShapes[groups - 1][1]);
  return m > small.rows && fills_half_gpu(large, m, n, sms) ? large : small;
}

// --- products on tensor cores ---------------------------------------------------------------------------------------

// Returns whether x . w has entries for tensor cores (CARACAL_GEMM_ENTRIES in tiles.cuh).
constexpr bool uses_tensor_cores(DType x, DType w) { return x == DType::bf16 && w != DType::f32; }

// Returns whether products with these weights have entries for the largest tile on tensor cores. Codes have two sums for each
// element of the output, that of a group and that of all, which together with the widened codes outgrow the registers.
constexpr bool has_large_tile(DType w) { return !is_affine(w); }

// The ring, or the sums that pass through the same memory, whichever is larger.
inline size_t tensor_shared_bytes(const TensorShape& shape, int groups, DType w) {
  const size_t bits = w == DType::q4 ? 4 : dtype_bytes(w) * 8;
  return std::max(shape.ring_bytes(groups, column_bytes(bits, is_affine(w))), shape.sum_bytes(groups));
}
inline GemmTile tensor_tile(const TensorShape& shape, int groups, DType w) {
  GemmTile tile = gemm_tile(shape);
  tile.shared_bytes = tensor_shared_bytes(shape, groups, w);
  return tile;
}

// The small tile is for up to 16 rows, where it streams the weights.
inline GemmTile tensor_tile(int64_t m, int64_t n, int groups, DType w, int sms) {
  const auto& [small, medium, large] = kTensorShapes[groups - 1];
  const bool is_large = has_large_tile(w) && m > medium.rows && fills_half_gpu(gemm_tile(large), m, n, sms);
  return tensor_tile(m <= small.rows ? small : is_large ? large : medium, groups, w);
}

// For a convolution, bf16 by bf16. With 96 channels, tiles of 64 columns would compute a third more than needed.
inline GemmTile conv_tile(int64_t m, int64_t n, int sms) {
  const TensorShape& medium = kTensorShapes[0][1];
  const GemmTile tile = tensor_tile(m, n, 1, DType::bf16, sms);
  auto padded_columns = [n](const TensorShape& s) { return round_up(n, int64_t{s.columns}); };
  if (tile.rows != medium.rows || padded_columns(kTensor96) >= padded_columns(medium)) return tile;
  return tensor_tile(kTensor96, 1, DType::bf16);
}

}  // namespace caracal::cuda

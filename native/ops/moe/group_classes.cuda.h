#pragma once
// Chooses the launches of a grouped product. Only the device knows how many rows an expert has, so there is one launch
// per size of tile, and each computes the experts that suit its tile. All tiles of a kind sum in the same order, so the
// choice changes no bits.
#include <climits>
#include <vector>

#include "cuda/gemm/tiles.h"
#include "ops/moe/grouped_gemm.kernels.h"

namespace caracal::cuda {

struct GroupClass {
  GemmTile tile;
  int min_rows, max_rows;  // of its experts
  size_t block_bytes;      // all shared memory of a block, static and dynamic
};

// `rows` is the total. Small totals do not justify launching the largest tile. There is always one launch, since it
// checks the offsets.
inline std::vector<GroupClass> group_classes(DType x, DType w, int groups, int64_t rows) {
  constexpr int64_t kFewRows = 512;
  std::vector<GroupClass> classes;
  auto add = [&](const GemmTile& tile, size_t tile_bytes, int max_rows) {
    const int min_rows = classes.empty() ? 1 : classes.back().max_rows + 1;
    if (min_rows <= rows || classes.empty())
      classes.push_back({tile, min_rows, max_rows, tile_bytes + kGroupTileBytes});
  };
  auto add_simt = [&](const SimtShape& s, int max_rows) { add(gemm_tile(s), s.shared_bytes(groups), max_rows); };
  auto add_tensor = [&](const TensorShape& s, int max_rows) {
    const GemmTile tile = tensor_tile(s, groups, w);
    add(tile, tile.shared_bytes, max_rows);
  };
  if (uses_tensor_cores(x, w)) {
    const auto& [small, medium, large] = kTensorShapes[groups - 1];
    add_tensor(small, small.rows);
    const bool uses_large = has_large_tile(w) && rows > kFewRows;
    add_tensor(medium, uses_large ? medium.rows : INT_MAX);
    if (uses_large) add_tensor(large, INT_MAX);
  } else {
    const auto& [small, large] = kSimtShapes[groups - 1];
    add_simt(small, small.rows);
    add_simt(large, INT_MAX);
  }
  return classes;
}

// The number of blocks: an upper bound of the tiles, or as many blocks as the GPU runs at once if that is less.
inline unsigned group_blocks(const GroupClass& c, int64_t rows, int64_t n, int64_t experts, int sms,
                             size_t shared_bytes) {
  constexpr int64_t kThreadsPerSm = 512;
  const auto fit = static_cast<int64_t>(shared_bytes / c.block_bytes);
  const int64_t at_once = sms * std::clamp<int64_t>(fit, 1, kThreadsPerSm / c.tile.threads);
  const int64_t tile_rows = std::max<int64_t>(std::min(experts + 1, rows / c.min_rows) + rows / c.tile.rows, 1);
  return static_cast<unsigned>(std::min(tile_rows * tile_count(c.tile, 1, n), at_once));
}

}  // namespace caracal::cuda

#pragma once
// Which kernels make a grouped product. How many rows an expert has is known on the device alone, so there is a launch
// for every size of tile, which makes the experts that it suits. Every tile of a kind sums in the same order, so this
// changes no bits.
#include <climits>
#include <vector>

#include "cuda/gemm/tiles.h"

namespace caracal::cuda {

struct GroupClass {
  GemmTile tile;
  int least, most;  // rows of its experts
};

// Of `rows` in all. Those that are few do not pay for the launch of the largest tile. Offsets are checked even where
// there are none.
inline std::vector<GroupClass> group_classes(bool tensor, int groups, DType w, int64_t rows) {
  constexpr int64_t kFew = 512;
  std::vector<GroupClass> classes;
  auto add = [&](const GemmTile& tile, int most) {
    const int least = classes.empty() ? 1 : classes.back().most + 1;
    if (least <= rows || classes.empty()) classes.push_back({tile, least, most});
  };
  const auto& [small, medium, large] = kTensorShapes[groups - 1];
  const auto& [simt_small, simt_large] = kSimtShapes[groups - 1];
  if (!tensor) {
    add(gemm_tile(simt_small), simt_small.rows);
    add(gemm_tile(simt_large), INT_MAX);
  } else {
    add(tensor_tile(small, groups, w), small.rows);
    add(tensor_tile(medium, groups, w), rows <= kFew ? INT_MAX : medium.rows);
    if (rows > kFew) add(tensor_tile(large, groups, w), INT_MAX);
  }
  return classes;
}

// As many blocks as there can be tiles, or as the GPU runs at once.
inline unsigned group_blocks(const GroupClass& c, int groups, int64_t rows, int64_t n, int64_t experts, int sms,
                             size_t shared_bytes) {
  constexpr size_t kAlso = 4 << 10, kSimtRow = 36 * sizeof(float);  // what is static
  const size_t simt = c.tile.stages == 0 ? static_cast<size_t>(c.tile.rows + c.tile.columns * groups) * kSimtRow : 0;
  const auto fit = static_cast<int64_t>(shared_bytes / (c.tile.shared_bytes + simt + kAlso));
  const int64_t at_once = sms * std::clamp<int64_t>(fit, 1, 512 / c.tile.threads);
  const int64_t down = std::max<int64_t>(std::min(experts + 1, rows / c.least) + rows / c.tile.rows, 1);
  return static_cast<unsigned>(std::min(down * tile_count(c.tile, 1, n), at_once));
}

}  // namespace caracal::cuda

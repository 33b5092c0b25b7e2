#pragma once
// The tile of patchify: a pure function of sizes.
#include <algorithm>
#include <cstdint>

#include "core/math.h"
#include "ops/image/patchify.kernels.h"

namespace caracal::cuda {

// As many neighbouring patches of `patch` x `patch` pixels as fill a row of shared memory's banks, and all of their rows
// and frames if those fit.
inline PatchTile patch_tile(int64_t patch, int64_t temporal, int64_t patches) {
  constexpr int64_t kMaxBytes = 32 << 10, kBanks = 32;
  const int64_t row_words = divide_up(patch, 4);
  const int64_t group = std::clamp<int64_t>(kBanks / row_words, 1, patches);
  int64_t rows = patch;
  while (rows > 1 && (patch % rows != 0 || group * rows * patch * 3 > kMaxBytes)) rows--;
  const int64_t frames = rows == patch && temporal * group * rows * patch * 3 <= kMaxBytes ? temporal : 1;
  // The gap puts the rows of neighbouring patches into neighbouring banks.
  const int64_t words = divide_up(frames * rows * patch * 3, 4), gap = (row_words - words % kBanks + kBanks) % kBanks;
  return {.group = int(group),
          .groups = int(divide_up(patches, group)),
          .rows = int(rows),
          .frames = int(frames),
          .pitch = int((words + gap) * 4)};
}

}  // namespace caracal::cuda

#pragma once
#include <cstdint>

#include "cuda/kernel.h"
#include "ops/image/pixel.h"

namespace caracal {

// What a block cuts: `rows` rows of pixels of up to `group` patches that are neighbours in a row of patches, in `frames`
// frames. It takes more than one frame only if it takes all rows of a patch.
struct PatchTile {
  int group, groups;  // patches per block; blocks per row of patches
  int rows, frames;
  int pitch;  // bytes per patch in shared memory
};

struct PatchParameters {
  static constexpr int kThreads = 256, kWarps = kThreads / 32;
  static constexpr int kStretch = 128;                   // pixels of a row that a warp stages at once
  static constexpr int kStageBytes = kStretch * 3 + 16;  // per warp; a stretch may start anywhere in 16 bytes
  PixelScale pixel;
  long long frame_bytes;  // to the next frame; 0 if one frame serves as all
  long long row_bytes;    // of pixels
  int patch, merge, temporal;
  int patches;  // per row of patches
  PatchTile tile;

  // Dynamic shared memory: a stage for each warp, then the tile.
  constexpr size_t shared_bytes() const { return kWarps * kStageBytes + tile.group * tile.pitch; }
};

// frames, y, parameters, whether four elements of y can be stored at once
inline constexpr Kernel<const uint8_t*, float*, PatchParameters, bool> kPatchify{"patchify"};

}  // namespace caracal

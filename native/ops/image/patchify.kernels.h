#pragma once
#include <cstdint>

#include "cuda/kernel.h"
#include "ops/image/pixel.h"

namespace caracal {

// What a launch of patchify is told. A block takes `rows` rows of pixels of up to `group` patches that lie side by side,
// of `frames` frames: of more than one only where it takes all rows of a patch.
struct PatchTiles {
  static constexpr int kThreads = 256;
  static constexpr int kStretch = 128;                  // pixels of a row that a warp takes at once
  static constexpr int kWarpBytes = kStretch * 3 + 16;  // where they pass, wherever they begin in 16 bytes
  PixelScale pixel;
  long long frame_bytes;  // to the next frame; 0 where one stands for all
  long long row_bytes;    // of pixels
  int patch, merge, temporal;
  int patches;  // across
  int group, groups, rows, frames;
  int pitch;  // bytes of a patch in shared memory
};

// frames, y, tiles, whether four elements at a time can be stored
inline constexpr Kernel<const uint8_t*, float*, PatchTiles, bool> kPatchify{"patchify"};

}  // namespace caracal

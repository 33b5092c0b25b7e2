#pragma once
#include "ops/image/pixel.h"

namespace caracal {

// What a launch of patchify is told. A block takes, through shared memory, `rows` rows of pixels of up to `group` patches
// that lie side by side, of `frames` frames. Read by the kernel and by the host.
struct PatchTiles {
  PixelScale pixel;
  long long frame_bytes;  // to the next frame; 0 where one stands for all
  long long row_bytes;    // of pixels
  int patch, merge, temporal;
  int patches;  // across
  int group, groups, rows, frames;
  int pitch;  // bytes of a row in shared memory
};

}  // namespace caracal

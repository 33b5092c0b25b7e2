#pragma once
// How patchify normalises. Read by kernels and by the host.

namespace caracal {

// (v / 255 - mean) / std of a channel is v * scale + shift, in f32 with one rounding: every backend gets the same bits.
struct PixelScale {
  float scale[3], shift[3];
};

}  // namespace caracal

#pragma once
// The normalisation of patchify, shared by the backends.

namespace caracal {

// Per channel, (v / 255 - mean) / std is v * scale + shift in f32 with one rounding: every backend gets the same bits.
struct PixelScale {
  float scale[3], shift[3];
};

}  // namespace caracal

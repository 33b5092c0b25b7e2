#pragma once
// Cuts frames into normalised patch rows for a vision transformer.
//   frames  [temporal, H, W, 3] u8, or [H, W, 3] u8 for `temporal` equal frames
//   y       [H/patch · W/patch, 3 · temporal · patch²] f32 of (v / 255 - mean[channel]) / std[channel]; the columns are
//           ordered (channel, time, row, column)
// The patches are in raster order of blocks of mergeSize x mergeSize patches, and in raster order within a block.
#include "core/check.h"
#include "ops/image/pixel.h"

namespace caracal {

struct Patchify {
  static constexpr const char* kName = "patchify";
  Tensor frames;
  int64_t patch = 14, temporal = 2, merge_size = 1;
  std::vector<double> mean, std;
  static constexpr auto kFields =
      std::tuple{field("frames", &Patchify::frames),     field("patch", &Patchify::patch),
                 field("temporal", &Patchify::temporal), field("mergeSize", &Patchify::merge_size),
                 required("mean", &Patchify::mean),      required("std", &Patchify::std)};

  int64_t height() const { return frames.shape[-3]; }
  int64_t width() const { return frames.shape[-2]; }
  PixelScale pixel_scale() const {
    PixelScale p{};
    for (int c = 0; c < 3; c++) {
      p.scale[c] = static_cast<float>(1 / (255 * std[c]));
      p.shift[c] = static_cast<float>(-mean[c] / std[c]);
    }
    return p;
  }

  Outputs check() const {
    Checker c{kName};
    c.range(patch, "patch", 1, 1024);
    c.range(temporal, "temporal", 1, 1024);
    c.range(merge_size, "mergeSize", 1, 1024);
    c.dtype(frames, "frames", {DType::u8});
    if (frames.shape.rank() == 4)
      c.shape(frames, "frames", {temporal, -1, -1, 3});
    else
      c.shape(frames, "frames", {-1, -1, 3});
    const int64_t unit = patch * merge_size;
    if (height() % unit != 0 || width() % unit != 0)
      c.bad(code::kShapeMismatch, "frames",
            "must have sides divisible by patch · mergeSize = " + std::to_string(unit) + ", got " + frames.shape.str());
    for (const auto& [values, name] : {std::pair{&mean, "mean"}, {&std, "std"}})
      if (values->size() != 3)
        c.mismatch(code::kInvalidArgument, name, "must have", "3 values", std::to_string(values->size()));
    for (double m : mean) c.finite(m, "mean");
    for (double s : std) c.positive(s, "std");
    return {{DType::f32, {height() / patch * (width() / patch), 3 * temporal * patch * patch}}};
  }
};

}  // namespace caracal

#pragma once
// Bilinear interpolation of a grid of token vectors in f32: half-pixel centres, clamped edges, no antialiasing.
//   x  [height · width, C] f32 | bf16, raster order      y  [toHeight · toWidth, C] of x's dtype
#include "core/check.h"

namespace caracal {

struct InterpolateTokens {
  static constexpr const char* kName = "interpolateTokens";
  Tensor x;
  int64_t height = 0, width = 0, to_height = 0, to_width = 0;
  static constexpr auto kFields =
      std::tuple{field("x", &InterpolateTokens::x), required("height", &InterpolateTokens::height),
                 required("width", &InterpolateTokens::width), required("toHeight", &InterpolateTokens::to_height),
                 required("toWidth", &InterpolateTokens::to_width)};

  Outputs check() const {
    constexpr int64_t max_side = 1 << 13;
    Checker c{kName};
    c.range(height, "from[0]", 1, max_side);
    c.range(width, "from[1]", 1, max_side);
    c.range(to_height, "to[0]", 1, max_side);
    c.range(to_width, "to[1]", 1, max_side);
    c.shape(x, "x", {height * width, -1});
    c.activations(x, "x");
    return {{x.dtype, {to_height * to_width, x.shape[1]}}};
  }
};

}  // namespace caracal

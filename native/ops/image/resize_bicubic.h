#pragma once
// Bicubic resize of 8-bit images, bit for bit as Pillow computes it: weights of the cubic kernel (a = -1/2, widened when
// shrinking) in 22-bit fixed point; a horizontal pass rounded to 8 bits, then a vertical one.
//   image  [H, W, channels] u8      y  [height, width, channels] u8
#include "core/check.h"

namespace caracal {

struct ResizeBicubic {
  static constexpr const char* kName = "resizeBicubic";
  static constexpr int64_t kMaxSide = 1 << 16, kMaxBytes = 1 << 30;
  Tensor image;
  int64_t height = 0, width = 0;
  static constexpr auto kFields =
      std::tuple{field("image", &ResizeBicubic::image), required("height", &ResizeBicubic::height),
                 required("width", &ResizeBicubic::width)};

  Outputs check() const {
    Checker c{kName};
    c.rank(image, "image", 3);
    c.dtype(image, "image", {DType::u8});
    if (image.shape.elements() == 0)
      c.bad(code::kShapeMismatch, "image", "must not be empty, got " + image.shape.str());
    c.range(height, "height", 1, kMaxSide);
    c.range(width, "width", 1, kMaxSide);
    c.range(image.shape[0], "height of image", 1, kMaxSide);
    c.range(image.shape[1], "width of image", 1, kMaxSide);
    // The horizontal pass makes an image of the old height and the new width.
    for (int64_t rows : {image.shape[0], height})
      c.range(rows * width, "pixels of the result", 1, kMaxBytes / image.shape[2]);
    return {{DType::u8, {height, width, image.shape[2]}}};
  }
};

}  // namespace caracal

#pragma once
// Quantises a matrix to f8e4m3 with one scale per block of 128 x 128, as FP8 checkpoints are published:
//   scale = max |w| / 448 of the block, code = w / scale rounded to nearest even, so that the largest weight becomes 448
// A block whose scale would be below 2^-126 (of zeros, say) has the scale 1, and its codes are 0.
//   w  [N, K] f32 | bf16      codes f8e4m3 [N, K]      scale f32 [ceil(N/128), ceil(K/128)]
// A weight that is NaN, infinite or beyond 2^126 is INVALID_ARGUMENT when the operation runs.
#include "core/scale_block.h"
#include "ops/quantization/affine.h"

namespace caracal {

struct QuantizeFp8 {
  static constexpr const char* kName = "quantizeFp8";
  Tensor w;
  static constexpr auto kFields = std::tuple{field("w", &QuantizeFp8::w)};

  Outputs check() const {
    Checker c{kName};
    c.rank(w, "w", 2);
    c.activations(w, "w");
    const Shape blocks{divide_up(w.shape[0], kScaleBlock), divide_up(w.shape[1], kScaleBlock)};
    return {{DType::f8e4m3, w.shape}, {DType::f32, blocks}};
  }
};

}  // namespace caracal

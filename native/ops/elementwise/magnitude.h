#pragma once
// y[..., c] = sqrt(x[..., c]² + x[..., C + c]²) in f32: the magnitudes of complex numbers whose real parts come first.
//   x  [..., 2C] f32 | bf16      y  [..., C] of x's dtype
#include "core/check.h"

namespace caracal {

struct Magnitude {
  static constexpr const char* kName = "magnitude";
  Tensor x;
  static constexpr auto kFields = std::tuple{field("x", &Magnitude::x)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 1);
    c.activations(x, "x");
    if (x.shape[-1] % 2 != 0)
      c.bad(code::kShapeMismatch, "x",
            "must have as many imaginary as real columns, got " + std::to_string(x.shape[-1]) + " columns");
    Shape shape = x.shape;
    shape[-1] /= 2;
    return {{x.dtype, shape}};
  }
};

}  // namespace caracal

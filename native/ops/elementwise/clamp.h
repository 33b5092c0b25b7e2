#pragma once
// y = min(max(x, low), high), element by element, in f32. NaN stays NaN.
//   x  [...] f32 | bf16      y  of x's shape and dtype
#include <limits>

#include "core/check.h"

namespace caracal {

struct Clamp {
  static constexpr const char* kName = "clamp";
  Tensor x;
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  static constexpr auto kFields =
      std::tuple{field("x", &Clamp::x), field("low", &Clamp::low), field("high", &Clamp::high)};

  Outputs check() const {
    Checker c{kName};
    c.activations(x, "x");
    if (!(low <= high))
      c.bad(code::kInvalidArgument, "low",
            "must not be above high, got low " + std::to_string(low) + " and high " + std::to_string(high));
    return {{x.dtype, x.shape}};
  }
};

}  // namespace caracal

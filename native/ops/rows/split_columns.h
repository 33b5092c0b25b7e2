#pragma once
// Splits the last dimension into one tensor per width.
//   x  [..., C]      widths  their sum is C      y_i  [..., widths_i]
#include "core/check.h"

namespace caracal {

struct SplitColumns {
  static constexpr const char* kName = "splitColumns";
  Tensor x;
  std::vector<int64_t> widths;
  static constexpr auto kFields = std::tuple{field("x", &SplitColumns::x), required("widths", &SplitColumns::widths)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 1);
    Outputs out;
    int64_t left = x.shape[-1];
    for (int64_t w : widths) {
      c.range(w, "widths", 0, left);
      left -= w;
      out.push_back({x.dtype, x.shape.with_last(w)});
    }
    if (left != 0)
      c.bad(code::kShapeMismatch, "widths",
            "must add up to the last dimension of " + x.shape.str() + ", " + std::to_string(left) +
                " columns are left over");
    return out;
  }
};

}  // namespace caracal

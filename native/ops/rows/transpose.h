#pragma once
// y[c][r] = x[r][c].
//   x  [R, C] any dtype      y  [C, R] of x's dtype
#include "core/check.h"

namespace caracal {

struct Transpose {
  static constexpr const char* kName = "transpose";
  Tensor x;
  static constexpr auto kFields = std::tuple{field("x", &Transpose::x)};

  Outputs check() const {
    Checker c{kName};
    c.rank(x, "x", 2);
    return {{x.dtype, {x.shape[1], x.shape[0]}}};
  }
};

}  // namespace caracal

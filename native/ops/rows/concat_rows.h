#pragma once
// Stacks the rows of several tensors, in order.
//   x  [R_i, ...] of one dtype, equal in all dimensions but the first      y  [sum of R_i, ...]
#include "core/check.h"

namespace caracal {

struct ConcatRows {
  static constexpr const char* kName = "concatRows";
  std::vector<Tensor> x;
  static constexpr auto kFields = std::tuple{required("x", &ConcatRows::x)};

  Outputs check() const {
    Checker c{kName};
    if (x.empty()) c.bad(code::kInvalidArgument, "x", "must hold at least one tensor");
    c.rank_at_least(x[0], "x", 1);
    Shape shape = x[0].shape;
    shape[0] = 0;
    for (const Tensor& t : x) {
      Shape want = x[0].shape;
      want[0] = -1;
      c.shape(t, "x", want);
      c.dtype(t, "x", {x[0].dtype});
      shape[0] += t.shape[0];
    }
    return {{x[0].dtype, shape}};
  }
};

}  // namespace caracal

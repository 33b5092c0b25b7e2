#pragma once
// The weight that a weight-normed layer applies: W = g · v / ‖v‖, the norm over all dimensions but the first. v and g
// are the `weight_v` and `weight_g` of PyTorch's old-style weight_norm. Runs once, at load.
//   v  f32 [N, ...]      g  f32 [N, 1, ...] or [N]      output  f32 of v's shape
// A row of zeros gives NaN, as in PyTorch.
#include "core/check.h"

namespace caracal {

struct FoldWeightNorm {
  static constexpr const char* kName = "foldWeightNorm";
  Tensor v, g;
  static constexpr auto kFields = std::tuple{field("v", &FoldWeightNorm::v), field("g", &FoldWeightNorm::g)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(v, "v", 2);
    c.rank_at_least(g, "g", 1);
    c.dtype(v, "v", {DType::f32});
    c.dtype(g, "g", {DType::f32});
    if (g.shape[0] != v.shape[0] || g.shape.elements() != v.shape[0])
      c.bad(code::kShapeMismatch, "g",
            "must hold one norm for each of " + std::to_string(v.shape[0]) + " rows, got " + g.shape.str());
    return {{DType::f32, v.shape}};
  }
};

}  // namespace caracal

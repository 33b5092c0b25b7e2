#pragma once
// The Snake activation, y = x + sin²(alpha·x) / (alpha + 1e-9), with one alpha per channel.
//   x [..., C] f32 | bf16      alpha [C] f32 | bf16      output: x's shape and dtype
#include "core/check.h"

namespace caracal {

struct Snake {
  static constexpr const char* kName = "snake";
  Tensor x, alpha;
  static constexpr auto kFields = std::tuple{field("x", &Snake::x), field("alpha", &Snake::alpha)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 1);
    c.activations(x, "x");
    c.shape(alpha, "alpha", {x.shape[-1]});
    c.activations(alpha, "alpha");
    return {{x.dtype, x.shape}};
  }
};

}  // namespace caracal

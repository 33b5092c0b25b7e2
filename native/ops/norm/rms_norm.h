#pragma once
// y = weight ⊙ h / sqrt(mean(h²) + eps) with h = x, or x + residual; statistics in f32 over the last dimension.
//   x, residual  [..., C] f32 | bf16      weight [C] f32 | bf16
//   outputs      y [..., C] of x's dtype; with a residual also h, the next residual
// As in the published implementation, h is rounded to x's dtype before normalisation, and the normalised value before
// the multiplication by the weight.
#include "core/check.h"

namespace caracal {

struct RmsNorm {
  static constexpr const char* kName = "rmsNorm";
  Tensor x, weight;
  std::optional<Tensor> residual;
  double eps = 1e-6;
  static constexpr auto kFields = std::tuple{field("x", &RmsNorm::x), field("weight", &RmsNorm::weight),
                                             field("residual", &RmsNorm::residual), field("eps", &RmsNorm::eps)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 1);
    c.activations(x, "x");
    c.shape(weight, "weight", {x.shape[-1]});
    c.activations(weight, "weight");
    c.positive(eps, "eps");
    if (!residual) return {{x.dtype, x.shape}};
    c.shape(*residual, "residual", x.shape);
    c.dtype(*residual, "residual", {x.dtype});
    return {{x.dtype, x.shape}, {x.dtype, x.shape}};
  }
};

}  // namespace caracal

#pragma once
// y = weight ⊙ h / sqrt(mean(h²) + eps) with h = x, or x + residual (addRmsNorm); statistics in f32 over the last
// dimension.
//   x, residual  [..., C] f32 | bf16      weight [C] f32 | bf16
//   outputs      y [..., C] of x's dtype; addRmsNorm also h, the next residual
// As in the published implementation, h is rounded to x's dtype before normalisation, and the normalised value before
// the multiplication by the weight.
#include "core/check.h"

namespace caracal {

struct RmsNorm {
  static constexpr const char* kName = "rmsNorm";
  Tensor x, weight;
  double eps = 1e-6;
  static constexpr auto kFields =
      std::tuple{field("x", &RmsNorm::x), field("weight", &RmsNorm::weight), field("eps", &RmsNorm::eps)};

  Outputs check() const { return check({kName}); }
  Outputs check(const Checker& c) const {
    c.rank_at_least(x, "x", 1);
    c.activations(x, "x");
    c.shape(weight, "weight", {x.shape[-1]});
    c.activations(weight, "weight");
    c.positive(eps, "eps");
    return {{x.dtype, x.shape}};
  }
};

struct AddRmsNorm {
  static constexpr const char* kName = "addRmsNorm";
  Tensor x, residual, weight;
  double eps = RmsNorm{}.eps;
  static constexpr auto kFields = std::tuple{field("x", &AddRmsNorm::x), field("residual", &AddRmsNorm::residual),
                                             field("weight", &AddRmsNorm::weight), field("eps", &AddRmsNorm::eps)};

  RmsNorm norm() const { return {x, weight, eps}; }
  Outputs check() const {
    Checker c{kName};
    const OutputSpec y = norm().check(c)[0];
    c.shape(residual, "residual", x.shape);
    c.dtype(residual, "residual", {x.dtype});
    return {y, y};
  }
};

}  // namespace caracal

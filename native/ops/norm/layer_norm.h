#pragma once
// y = weight ⊙ (x - mean(x)) / sqrt(var(x) + eps) + bias; mean and (biased) variance in f32 over the last dimension.
//   x  [..., C] f32 | bf16      weight, bias  [C] f32 | bf16, of one dtype
//   y  [..., C] of x's dtype, rounded once
#include "core/check.h"

namespace caracal {

struct LayerNorm {
  static constexpr const char* kName = "layerNorm";
  Tensor x, weight;
  std::optional<Tensor> bias;
  double eps = 1e-5;
  static constexpr auto kFields = std::tuple{field("x", &LayerNorm::x), field("weight", &LayerNorm::weight),
                                             field("bias", &LayerNorm::bias), field("eps", &LayerNorm::eps)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 1);
    c.activations(x, "x");
    c.shape(weight, "weight", {x.shape[-1]});
    c.activations(weight, "weight");
    c.shape(bias, "bias", {x.shape[-1]});
    c.dtype(bias, "bias", {weight.dtype});
    c.positive(eps, "eps");
    return {{x.dtype, x.shape}};
  }
};

}  // namespace caracal

#pragma once
// out[t] = residual[t] + zeroWeight[t]·x[t] + Σ_k weights[t,k]·y[slotOf[t,k]], summed in f32 in that order, so a
// token's bits do not depend on its neighbours. A pick without a row (slot -1: a zero expert) adds nothing here; its
// identity is in zeroWeight.
//   y [R, D]     x [T, D]     weights f32 [T, K]     slotOf i32 [T, K]     zeroWeight f32 [T]     residual [T, D]
//   y, x, residual and the output share a dtype, f32 | bf16; output [T, D]
#include "core/check.h"

namespace caracal {

struct Combine {
  static constexpr const char* kName = "combine";
  Tensor y, x, weights, slotOf, zeroWeight;
  std::optional<Tensor> residual;
  static constexpr auto kFields = std::tuple{field("y", &Combine::y),
                                             field("x", &Combine::x),
                                             field("weights", &Combine::weights),
                                             field("slotOf", &Combine::slotOf),
                                             field("zeroWeight", &Combine::zeroWeight),
                                             field("residual", &Combine::residual)};

  Outputs check() const {
    Checker c{kName};
    c.rank(x, "x", 2);
    c.activations(x, "x");
    c.shape(y, "y", {-1, x.shape[1]});
    c.dtype(y, "y", {x.dtype});
    c.shape(weights, "weights", {x.shape[0], -1});
    c.dtype(weights, "weights", {DType::f32});
    c.shape(slotOf, "slotOf", weights.shape);
    c.dtype(slotOf, "slotOf", {DType::i32});
    c.shape(zeroWeight, "zeroWeight", {x.shape[0]});
    c.dtype(zeroWeight, "zeroWeight", {DType::f32});
    c.shape(residual, "residual", x.shape);
    c.dtype(residual, "residual", {x.dtype});
    return {{x.dtype, x.shape}};
  }
};

}  // namespace caracal

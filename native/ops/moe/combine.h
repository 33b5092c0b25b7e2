#pragma once
// out[t] = residual[t] + zeroWeight[t]·x[t] + Σ_k weights[t,k]·y[slotOf[t,k]], summed in f32 in that order, so the bits
// of a token do not depend on its neighbours. A pick without a row (slot -1: a zero expert) adds nothing here; its
// identity is part of zeroWeight.
//   y [R, D]     x [T, D]     weights f32 [T, K]     slotOf i32 [T, K]     zeroWeight f32 [T]     residual [T, D]
//   y, x, residual and the output have the same dtype, f32 | bf16; output [T, D]
// A slot outside [-1, R) is INDEX_OUT_OF_RANGE when the operation runs.
#include "core/check.h"

namespace caracal {

struct Combine {
  static constexpr const char* kName = "combine";
  Tensor y, x, weights, slot_of, zero_weight;
  std::optional<Tensor> residual;
  static constexpr auto kFields = std::tuple{field("y", &Combine::y),
                                             field("x", &Combine::x),
                                             field("weights", &Combine::weights),
                                             field("slotOf", &Combine::slot_of),
                                             field("zeroWeight", &Combine::zero_weight),
                                             field("residual", &Combine::residual)};

  Outputs check() const {
    Checker c{kName};
    c.rank(x, "x", 2);
    c.activations(x, "x");
    c.shape(y, "y", {-1, x.shape[1]});
    c.dtype(y, "y", {x.dtype});
    c.shape(weights, "weights", {x.shape[0], -1});
    c.dtype(weights, "weights", {DType::f32});
    c.shape(slot_of, "slotOf", weights.shape);
    c.dtype(slot_of, "slotOf", {DType::i32});
    c.shape(zero_weight, "zeroWeight", {x.shape[0]});
    c.dtype(zero_weight, "zeroWeight", {DType::f32});
    c.shape(residual, "residual", x.shape);
    c.dtype(residual, "residual", {x.dtype});
    return {{x.dtype, x.shape}};
  }

  // The error for element `pick` of slotOf, whose value is `slot`.
  static Error slot_error(int64_t pick, int64_t picks_per_token, int64_t slot, int64_t rows) {
    return index_error(kName, "slotOf", pick, slot,
                       "slotOf[" + std::to_string(pick / picks_per_token) + "][" +
                           std::to_string(pick % picks_per_token) + "] is " + std::to_string(slot) + ", outside [-1, " +
                           std::to_string(rows) + ")");
  }
};

}  // namespace caracal

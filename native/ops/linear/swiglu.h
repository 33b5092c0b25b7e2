#pragma once
// h = silu(x·Wgᵀ + bg) ⊙ (x·Wuᵀ + bu); each product has the bits that `linear` gives.
//   x [..., K] f32 | bf16     gate, up [N, K] as in linear.h, of one dtype and layout     gateBias, upBias [N]
//   output [..., N] of x's dtype
#include "ops/linear/linear.h"

namespace caracal {

struct Swiglu {
  static constexpr const char* kName = "swiglu";
  Tensor x, gate, up;
  std::optional<Tensor> gate_bias, up_bias;
  static constexpr auto kFields = std::tuple{field("x", &Swiglu::x), packable("gate", &Swiglu::gate, Layout::matrix),
                                             packable("up", &Swiglu::up, Layout::matrix),
                                             field("gateBias", &Swiglu::gate_bias), field("upBias", &Swiglu::up_bias)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 1);
    c.activations(x, "x");
    check_weight(c, gate, "gate", {-1, x.shape[-1]});
    check_weight(c, up, "up", gate.shape);
    c.dtype(up, "up", {gate.dtype});
    check_same_scales(c, gate, up);
    if (up.layout != gate.layout) c.bad(code::kInvalidArgument, "up", "must be packed exactly if gate is");
    for (const auto& [t, arg] : {std::pair{&gate_bias, "gateBias"}, std::pair{&up_bias, "upBias"}}) {
      c.activations(*t, arg);
      c.shape(*t, arg, {gate.shape[0]});
    }
    return {{x.dtype, x.shape.with_last(gate.shape[0])}};
  }
};

}  // namespace caracal

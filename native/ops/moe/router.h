#pragma once
// The ScMoE router over E FFN experts and Z zero-computation experts (LongCat-Flash report, section 2.1):
//   l = classifier · x (f32),  s = softmax(l) over all E + Z,  picks = the K largest of s + correctionBias,
//   weights = scale · s of the picks (the bias only steers the choice)
//   x [T, D] f32 | bf16     classifier [E+Z, D] f32 | bf16, packed or plain     correctionBias [E+Z] f32
//   outputs  ids i32 [T, K] by descending s + bias; an id >= E is a zero expert
//            weights f32 [T, K]
//            zeroWeight f32 [T]: the sum of the weights of the zero experts among the picks
// Tie rule: among equal s + bias the lowest id wins (next_pick in router.cpu.cc and in router_picks.cuh); NaN ranks below
// all numbers.
// renormalize divides the s of the picks by their sum before scaling. scaleZeroExperts = false leaves the weights of
// zero experts unscaled. A token with a NaN or +inf logit has no valid softmax: its weights are NaN, its ids are valid.
#include "ops/linear/linear.h"

namespace caracal {

struct Router {
  static constexpr const char* kName = "router";
  static constexpr int64_t kMaxPicks = 1 << 10;  // each pick visits all experts
  Tensor x, classifier;
  std::optional<Tensor> correction_bias;
  int64_t top_k = 0, experts = 0, zero_experts = 0;
  double scale = 0;
  bool renormalize = false, scale_zero_experts = true;
  static constexpr auto kFields = std::tuple{field("x", &Router::x),
                                             packable("classifier", &Router::classifier, Layout::matrix),
                                             field("correctionBias", &Router::correction_bias),
                                             required("topK", &Router::top_k),
                                             required("experts", &Router::experts),
                                             required("zeroExperts", &Router::zero_experts),
                                             required("scale", &Router::scale),
                                             field("renormalize", &Router::renormalize),
                                             field("scaleZeroExperts", &Router::scale_zero_experts)};

  Outputs check() const {
    Checker c{kName};
    c.rank(x, "x", 2);
    c.activations(x, "x");
    c.range(experts, "experts", 1, 1 << 16);
    c.range(zero_experts, "zeroExperts", 0, 1 << 16);
    const int64_t all = all_experts();
    c.range(top_k, "topK", 1, std::min(all, kMaxPicks));
    c.finite(scale, "scale");
    c.dtype(classifier, "classifier", {DType::f32, DType::bf16});
    c.shape(classifier, "classifier", {all, x.shape[1]});
    c.dtype(correction_bias, "correctionBias", {DType::f32});
    c.shape(correction_bias, "correctionBias", {all});
    const int64_t t = x.shape[0];
    return {{DType::i32, {t, top_k}}, {DType::f32, {t, top_k}}, {DType::f32, {t}}};
  }

  int64_t all_experts() const { return experts + zero_experts; }
};

}  // namespace caracal

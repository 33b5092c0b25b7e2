#pragma once
// The ScMoE router over E FFN experts and Z zero-computation experts (LongCat-Flash report, section 2.1):
//   l = classifier · x (f32),  s = softmax(l) over all E + Z,  picks = the K largest of s + correctionBias,
//   weights = scale · s of the picks (the bias steers the choice only)
//   x [T, D] f32 | bf16     classifier [E+Z, D] f32 | bf16, packed or plain     correctionBias [E+Z] f32
//   outputs  ids i32 [T, K] by descending s + bias, ties to the lowest id; a pick >= E is a zero expert
//            weights f32 [T, K]
//            zeroWeight f32 [T]: the sum of the weights of the zero experts among the picks
// renormalize divides the picks' s by their sum before scaling. scaleZeroExperts = false leaves γ off the zero
// experts' weights. A token with a NaN or +inf logit has no valid softmax: its weights are NaN, its ids are valid.
#include "ops/linear/linear.h"

namespace caracal {

struct Router {
  static constexpr const char* kName = "router";
  Tensor x, classifier;
  std::optional<Tensor> correctionBias;
  int64_t topK = 0, experts = 0, zeroExperts = 0;
  double scale = 1;
  bool renormalize = false, scaleZeroExperts = true;
  static constexpr auto kFields = std::tuple{field("x", &Router::x),
                                             field("classifier", &Router::classifier),
                                             field("correctionBias", &Router::correctionBias),
                                             field("topK", &Router::topK),
                                             field("experts", &Router::experts),
                                             field("zeroExperts", &Router::zeroExperts),
                                             field("scale", &Router::scale),
                                             field("renormalize", &Router::renormalize),
                                             field("scaleZeroExperts", &Router::scaleZeroExperts)};

  Outputs check() const {
    Checker c{kName};
    c.rank(x, "x", 2);
    c.activations(x, "x");
    c.range(experts, "experts", 1, 1 << 20);
    c.range(zeroExperts, "zeroExperts", 0, 1 << 20);
    const int64_t all = experts + zeroExperts;
    c.range(topK, "topK", 1, all);
    c.dtype(classifier, "classifier", {DType::f32, DType::bf16});
    c.shape(classifier, "classifier", {all, x.shape[1]});
    c.dtype(correctionBias, "correctionBias", {DType::f32});
    c.shape(correctionBias, "correctionBias", {all});
    const int64_t t = x.shape[0];
    return {{DType::i32, {t, topK}}, {DType::f32, {t, topK}}, {DType::f32, {t}}};
  }
};

}  // namespace caracal

#pragma once
// Writes new tokens to the cache of multi-head latent attention (mla.h): cache row slots[t] becomes
//   [ scale * normWeight ⊙ a / sqrt(mean(a²) + eps)  |  k_r rotated to positions[t] ]    with kv[t] = [ a | k_r ]
// and is rounded to the cache's dtype once. k_r is rotated in interleaved pairs, as in rope.h.
//   kv          [T, R + P] f32 | bf16, the output of kv_a_proj; P even
//   normWeight  [R] f32 | bf16
//   positions, slots  [T] i32; slot = block * blockSize + offset, all distinct
//   cache       [blocks, blockSize, R + P] f32 | bf16, written in place
#include "ops/attention/mla.h"
#include "ops/audio/streaming.h"

namespace caracal {

struct MlaCacheWrite {
  static constexpr const char* kName = "mlaCacheWrite";
  Tensor kv, norm_weight, positions, slots, cache;
  double eps = 1e-6, scale = 1, theta = 0;
  static constexpr auto kFields = std::tuple{field("kv", &MlaCacheWrite::kv),
                                             field("normWeight", &MlaCacheWrite::norm_weight),
                                             field("positions", &MlaCacheWrite::positions),
                                             field("slots", &MlaCacheWrite::slots),
                                             field("cache", &MlaCacheWrite::cache, Access::inout),
                                             field("eps", &MlaCacheWrite::eps),
                                             field("scale", &MlaCacheWrite::scale),
                                             required("theta", &MlaCacheWrite::theta)};

  Outputs check() const {
    Checker c{kName};
    c.rank(kv, "kv", 2);
    c.activations(kv, "kv");
    c.rank(norm_weight, "normWeight", 1);
    c.activations(norm_weight, "normWeight");
    const int64_t latent = norm_weight.shape[0], rotated = kv.shape[1] - latent;
    if (latent < 1 || rotated < 0 || rotated % 2 != 0)
      c.bad(code::kShapeMismatch, "kv",
            "must have normWeight's columns and an even number more, got " + kv.shape.str() + " for " +
                norm_weight.shape.str());
    for (auto [t, name] : {std::pair{&positions, "positions"}, {&slots, "slots"}}) {
      c.shape(*t, name, {kv.shape[0]});
      c.dtype(*t, name, {DType::i32});
    }
    check_cache(c, cache, kv.shape[1]);
    check_state(c, cache, "cache", cache.dtype, cache.shape, {&kv, &norm_weight, &positions, &slots});
    c.positive(eps, "eps");
    c.finite(scale, "scale");
    c.positive(theta, "theta");
    return {};
  }
};

inline Error slot_error(int64_t t, int64_t slot, int64_t rows) {
  return index_error(MlaCacheWrite::kName, "slots", t, slot,
                     "slots[" + std::to_string(t) + "] must be one of the cache's " + std::to_string(rows) +
                         " rows, got " + std::to_string(slot));
}

}  // namespace caracal

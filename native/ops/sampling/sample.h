#pragma once
// Draws one id per row from p = softmax(logits / temperature) over the allowed ids, cut to the topK largest, then to the
// fewest largest with a share of topP of the remaining probability. The draw is a function of seed, step and row alone.
// Probabilities are integer weights (sample_weight.h): every backend draws the same id, and never one that is 2^40 times
// less likely than the most likely.
//   logits  [B, V] f32 | bf16, V <= 2^23      ids  [B] i32
// temperature, topK, topP, seed and step hold one value for all rows or one per row. With a single seed, row r draws
// from the seed's r-th stream; with one seed per row, a row draws as if it were alone.
// temperature 0 takes the largest logit, as argmax does. topK 0 and topP 1 do not cut. A cut among equal logits keeps the
// lowest ids. NaN counts as -infinity, which is never drawn; if there is nothing else, the result is the first allowed
// id. +infinity outweighs every finite logit; several share the probability equally.
#include <cmath>

#include "ops/sampling/allowed_ranges.h"
#include "ops/sampling/philox.h"
#include "ops/sampling/sample_weight.h"

namespace caracal {

struct Sample {
  static constexpr const char* kName = "sample";
  Tensor logits;
  std::vector<double> temperature{1}, top_p{1};
  std::vector<int64_t> top_k{0}, seed{0}, step{0}, allowed;
  static constexpr auto kFields =
      std::tuple{field("logits", &Sample::logits),  field("temperature", &Sample::temperature),
                 field("topK", &Sample::top_k),     field("topP", &Sample::top_p),
                 required("seed", &Sample::seed),   required("step", &Sample::step),
                 field("allowed", &Sample::allowed)};

  template <class T>
  static T at(const std::vector<T>& values, int64_t row) {
    return values[values.size() == 1 ? 0 : static_cast<size_t>(row)];
  }
  // The random number of a row's draw, uniform in [0, 2^64).
  uint64_t random(int64_t row) const {
    return uniform(at(seed, row), at(step, row), seed.size() == 1 ? static_cast<uint32_t>(row) : 0);
  }

  Outputs check() const {
    Checker c{kName};
    check_logits(c, logits);
    c.range(logits.shape[1], "logits' columns", 1, kMaxSampledIds);
    check_allowed_ranges(c, allowed, logits.shape[1]);
    auto each = [&](const auto& values, const char* name, const char* want, auto valid) {
      if (values.size() != 1 && static_cast<int64_t>(values.size()) != logits.shape[0])
        c.bad(code::kInvalidArgument, name,
              "must be one value, or one for each row of " + logits.shape.str() + ", got " +
                  std::to_string(values.size()));
      for (auto v : values)
        if (!valid(v))
          c.bad(code::kInvalidArgument, name, std::string("must be ") + want + ", got " + std::to_string(v));
    };
    each(temperature, "temperature", "finite and at least 0", [](double v) { return v >= 0 && std::isfinite(v); });
    each(top_p, "topP", "above 0 and at most 1", [](double v) { return v > 0 && v <= 1; });
    each(top_k, "topK", "at least 0", [](int64_t v) { return v >= 0; });
    each(seed, "seed", "at least 0", [](int64_t v) { return v >= 0; });
    each(step, "step", "at least 0", [](int64_t v) { return v >= 0; });
    return {{DType::i32, {logits.shape[0]}}};
  }
};

}  // namespace caracal

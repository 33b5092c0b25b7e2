#pragma once
// The id of the largest allowed logit, and the lowest of them if several are equal. NaN is never the largest. If no
// logit exceeds -infinity, the result is the first allowed id.
//   logits  [B, V] f32 | bf16      ids  [B] i32
#include "ops/sampling/allowed_ranges.h"

namespace caracal {

struct Argmax {
  static constexpr const char* kName = "argmax";
  Tensor logits;
  std::vector<int64_t> allowed;
  static constexpr auto kFields = std::tuple{field("logits", &Argmax::logits), field("allowed", &Argmax::allowed)};

  Outputs check() const {
    Checker c{kName};
    check_logits(c, logits);
    check_allowed_ranges(c, allowed, logits.shape[1]);
    return {{DType::i32, {logits.shape[0]}}};
  }
};

}  // namespace caracal

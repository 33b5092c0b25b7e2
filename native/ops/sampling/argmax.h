#pragma once
// The id of the largest logit among those allowed; the lowest id where several are. NaN is never the largest; where
// nothing exceeds -infinity the answer is the first allowed id.
//   logits  [B, V] f32 | bf16      ids  [B] i32
#include "ops/sampling/allowed.h"

namespace caracal {

struct Argmax {
  static constexpr const char* kName = "argmax";
  Tensor logits;
  std::vector<int64_t> allowed;
  static constexpr auto kFields = std::tuple{field("logits", &Argmax::logits), field("allowed", &Argmax::allowed)};

  Outputs check() const {
    Checker c{kName};
    check_logits(c, logits);
    check_allowed(c, allowed, logits.shape[1]);
    return {{DType::i32, {logits.shape[0]}}};
  }
};

}  // namespace caracal

#pragma once
// Makes ids of the history less likely. For an id that occurs c times in its row of the history,
//   y = logit / penaltyᶜ if logit >= 0, logit · penaltyᶜ if logit < 0.
//   logits  [B, V] f32 | bf16      history  [B, W] i32, negative if unused      y  [B, V] of logits' dtype
// An id of V or more raises INDEX_OUT_OF_RANGE when the operation runs.
#include "ops/sampling/allowed_ranges.h"
#include "ops/sampling/penalty.h"

namespace caracal {

struct RepetitionPenalty {
  static constexpr const char* kName = "repetitionPenalty";
  Tensor logits, history;
  double penalty = 1;
  static constexpr auto kFields =
      std::tuple{field("logits", &RepetitionPenalty::logits), field("history", &RepetitionPenalty::history),
                 required("penalty", &RepetitionPenalty::penalty)};

  static Error no_such_id(int64_t position, int64_t id, int64_t logits) {
    return index_error(
        kName, "history", position, id,
        "history holds id " + std::to_string(id) + ", but there are " + std::to_string(logits) + " logits");
  }

  Outputs check() const {
    Checker c{kName};
    check_logits(c, logits);
    c.shape(history, "history", {logits.shape[0], -1});
    c.dtype(history, "history", {DType::i32});
    c.positive(penalty, "penalty");
    return {{logits.dtype, logits.shape}};
  }
};

}  // namespace caracal

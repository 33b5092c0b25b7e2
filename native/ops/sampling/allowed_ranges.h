#pragma once
// Logits of which some ids may not be chosen: `allowed` lists id ranges start, end, start, end, ... in ascending order;
// none means every id.
#include "core/check.h"

namespace caracal {

inline void check_logits(const Checker& c, const Tensor& logits) {
  c.rank(logits, "logits", 2);
  c.activations(logits, "logits");
  if (logits.shape[1] == 0) c.bad(code::kShapeMismatch, "logits", "must have at least one column, got none");
}

inline void check_allowed(const Checker& c, const std::vector<int64_t>& allowed, int64_t ids) {
  if (allowed.size() % 2 != 0) c.bad(code::kInvalidArgument, "allowed", "must hold pairs of start and end");
  int64_t last = 0;
  for (size_t i = 0; i < allowed.size(); i += 2) {
    if (allowed[i] < last || allowed[i + 1] <= allowed[i] || allowed[i + 1] > ids)
      c.bad(code::kInvalidArgument, "allowed",
            "must be ascending ranges inside [0, " + std::to_string(ids) + "), got [" + std::to_string(allowed[i]) +
                ", " + std::to_string(allowed[i + 1]) + ")");
    last = allowed[i + 1];
  }
}

// The ranges to walk: `allowed`, or the one range of everything.
inline std::vector<int64_t> ranges_of(const std::vector<int64_t>& allowed, int64_t ids) {
  return allowed.empty() ? std::vector<int64_t>{0, ids} : allowed;
}

}  // namespace caracal

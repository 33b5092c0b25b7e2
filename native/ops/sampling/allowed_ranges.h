#pragma once
// Logits and the ids that may be chosen: `allowed` lists ranges of ids as start, end, start, end, ... in ascending order;
// an empty list allows every id.
#include "core/check.h"

namespace caracal {

inline void check_logits(const Checker& c, const Tensor& logits) {
  c.rank(logits, "logits", 2);
  c.activations(logits, "logits");
  if (logits.shape[1] == 0) c.bad(code::kShapeMismatch, "logits", "must have at least one column, got none");
}

inline void check_allowed_ranges(const Checker& c, const std::vector<int64_t>& allowed, int64_t ids) {
  if (allowed.size() % 2 != 0) c.bad(code::kInvalidArgument, "allowed", "must hold pairs of start and end");
  int64_t previous_end = 0;
  for (size_t i = 0; i < allowed.size(); i += 2) {
    if (allowed[i] < previous_end || allowed[i + 1] <= allowed[i] || allowed[i + 1] > ids)
      c.bad(code::kInvalidArgument, "allowed",
            "must be ascending ranges inside [0, " + std::to_string(ids) + "), got [" + std::to_string(allowed[i]) +
                ", " + std::to_string(allowed[i + 1]) + ")");
    previous_end = allowed[i + 1];
  }
}

// `allowed`, or a single range of all ids.
inline std::vector<int64_t> allowed_ranges(const std::vector<int64_t>& allowed, int64_t ids) {
  return allowed.empty() ? std::vector<int64_t>{0, ids} : allowed;
}

inline int64_t count_ids(const std::vector<int64_t>& ranges) {
  int64_t n = 0;
  for (size_t r = 0; r < ranges.size(); r += 2) n += ranges[r + 1] - ranges[r];
  return n;
}

}  // namespace caracal

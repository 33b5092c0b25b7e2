#pragma once
// Copies a padded batch, with zeros in the rows of each sequence from its length on.
//   x  [B, T, C], or [B·T, C]      lengths  B numbers, each in [0, T]      y  of x's shape
#include "core/check.h"

namespace caracal {

struct MaskRows {
  static constexpr const char* kName = "maskRows";
  Tensor x;
  std::vector<int64_t> lengths;
  static constexpr auto kFields = std::tuple{field("x", &MaskRows::x), required("lengths", &MaskRows::lengths)};

  int64_t sequences() const { return static_cast<int64_t>(lengths.size()); }

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 2);
    if (lengths.empty()) c.bad(code::kInvalidArgument, "lengths", "must hold at least one length");
    int64_t rows = 1;
    for (int i = 0; i + 1 < x.shape.rank(); i++) rows *= x.shape[i];
    if (rows % sequences() != 0)
      c.bad(code::kShapeMismatch, "x",
            "must hold as many rows for each of " + std::to_string(sequences()) + " sequences, got " + x.shape.str());
    for (int64_t n : lengths) c.range(n, "lengths", 0, rows / sequences());
    return {{x.dtype, x.shape}};
  }
};

}  // namespace caracal

#pragma once
// y[i] = x[rows[i]]: an embedding look-up, or any other gather of rows. With allowNegative, a negative id gives a row
// of zeros.
//   x  [R, ...]      rows  [n...] i32, each in [0, R)      y  [n..., ...] of outDtype (default x's)
// Only f32 and bf16 can be converted. A row id outside x raises INDEX_OUT_OF_RANGE when the operation runs.
#include "core/check.h"

namespace caracal {

struct GatherRows {
  static constexpr const char* kName = "gatherRows";
  Tensor x, rows;
  bool allow_negative = false;
  std::optional<DType> out_dtype;
  static constexpr auto kFields =
      std::tuple{field("x", &GatherRows::x), field("rows", &GatherRows::rows),
                 field("allowNegative", &GatherRows::allow_negative), field("outDtype", &GatherRows::out_dtype)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 1);
    c.rows(x, "x");
    c.dtype(rows, "rows", {DType::i32});
    const DType out = out_dtype.value_or(x.dtype);
    if (out != x.dtype) {
      c.activations(x, "x");
      if (out != DType::f32 && out != DType::bf16)
        c.bad(code::kDtypeMismatch, "outDtype", std::string("must be f32 or bf16, got ") + dtype_name(out));
    }
    Shape shape = rows.shape;
    for (int i = 1; i < x.shape.rank(); i++) shape.push_back(x.shape[i]);
    return {{out, shape}};
  }
};

}  // namespace caracal

#pragma once
// y[i] = x[rows[i]]: a gather of rows, and as `embedding` a look-up in a table. With allowNegative, a negative id gives a
// row of zeros.
//   gatherRows  x [R, ...] of any dtype      rows [n...] i32, each in [0, R)      y [n..., ...] of x's dtype
//   embedding   table [V, C] f32 | bf16      ids [n...] i32, each in [0, V)       y [n..., C] of outDtype (default table's)
// A row id outside x raises INDEX_OUT_OF_RANGE when the operation runs.
#include "core/check.h"

namespace caracal {

struct GatherRows {
  static constexpr const char* kName = "gatherRows";
  static constexpr const char* kIds = "rows";
  Tensor x, rows;
  static constexpr auto kFields = std::tuple{field("x", &GatherRows::x), field("rows", &GatherRows::rows)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 1);
    c.dtype(rows, "rows", {DType::i32});
    Shape shape = rows.shape;
    for (int i = 1; i < x.shape.rank(); i++) shape.push_back(x.shape[i]);
    return {{x.dtype, shape}};
  }
};

struct Embedding {
  static constexpr const char* kName = "embedding";
  static constexpr const char* kIds = "ids";
  Tensor table, ids;
  bool allow_negative = false;
  std::optional<DType> out_dtype;
  static constexpr auto kFields =
      std::tuple{field("table", &Embedding::table), field("ids", &Embedding::ids),
                 field("allowNegative", &Embedding::allow_negative), field("outDtype", &Embedding::out_dtype)};

  Outputs check() const {
    Checker c{kName};
    c.rank(table, "table", 2);
    c.activations(table, "table");
    c.dtype(ids, "ids", {DType::i32});
    const DType out = out_dtype.value_or(table.dtype);
    c.out_dtype(out);
    Shape shape = ids.shape;
    shape.push_back(table.shape[1]);
    return {{out, shape}};
  }
};

}  // namespace caracal

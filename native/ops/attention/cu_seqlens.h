#pragma once
// cuSeqlens [B + 1] i32 holds the cumulative lengths of packed sequences: sequence b is rows
// [cuSeqlens[b], cuSeqlens[b + 1]). Its values are checked before any row is touched.
#include <string>

#include "core/check.h"

namespace caracal {

inline void check_cu_seqlens_tensor(const Checker& c, const Tensor& cu_seqlens) {
  c.rank(cu_seqlens, "cuSeqlens", 1);
  c.dtype(cu_seqlens, "cuSeqlens", {DType::i32});
  if (cu_seqlens.shape[0] < 1)
    c.bad(code::kShapeMismatch, "cuSeqlens", "must have one element more than there are sequences");
}

inline Error cu_seqlens_error(const char* op, int64_t i, int64_t value, const std::string& expected) {
  return index_error(op, "cuSeqlens", i, value,
                     "cuSeqlens[" + std::to_string(i) + "] must be " + expected + ", got " + std::to_string(value));
}
inline Error first_start_error(const char* op, int64_t value) { return cu_seqlens_error(op, 0, value, "0"); }
inline Error start_order_error(const char* op, int64_t i, int64_t value, int64_t previous) {
  return cu_seqlens_error(op, i, value, "at least its predecessor " + std::to_string(previous));
}
inline Error last_start_error(const char* op, int64_t i, int64_t value, int64_t rows) {
  return cu_seqlens_error(op, i, value, "the number of rows, " + std::to_string(rows));
}

inline void check_cu_seqlens(const char* op, const Tensor& cu_seqlens, int64_t rows) {
  const int32_t* starts = cu_seqlens.data<int32_t>();
  const int64_t last = cu_seqlens.shape[0] - 1;
  if (starts[0] != 0) throw first_start_error(op, starts[0]);
  for (int64_t i = 1; i <= last; i++)
    if (starts[i] < starts[i - 1]) throw start_order_error(op, i, starts[i], starts[i - 1]);
  if (starts[last] != rows) throw last_start_error(op, last, starts[last], rows);
}

}  // namespace caracal

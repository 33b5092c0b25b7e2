#pragma once
// What tensors of indices must hold, looked at before anything they point to is touched.
#include <string>

#include "core/check.h"

namespace caracal {

// Element i of cuSeqlens is not what it must be.
inline Error start_error(const char* op, int64_t i, int64_t value, const std::string& want) {
  return {code::kIndexOutOfRange, std::string(op) + ": cuSeqlens[" + std::to_string(i) + "] must be " + want +
                                      ", got " + std::to_string(value)};
}
inline Error first_start_error(const char* op, int64_t value) { return start_error(op, 0, value, "0"); }
inline Error order_error(const char* op, int64_t i, int64_t value, int64_t before) {
  return start_error(op, i, value, "at least its predecessor " + std::to_string(before));
}
inline Error last_start_error(const char* op, int64_t i, int64_t value, int64_t rows) {
  return start_error(op, i, value, "the number of rows, " + std::to_string(rows));
}

// cuSeqlens [B + 1]: sequence b is rows [cu[b], cu[b + 1]) of `rows` rows.
inline void check_sequences(const char* op, const Tensor& cu, int64_t rows) {
  const int32_t* c = cu.data<int32_t>();
  const int64_t last = cu.shape[0] - 1;
  if (c[0] != 0) throw first_start_error(op, c[0]);
  for (int64_t i = 1; i <= last; i++)
    if (c[i] < c[i - 1]) throw order_error(op, i, c[i], c[i - 1]);
  if (c[last] != rows) throw last_start_error(op, last, c[last], rows);
}

inline void check_sequences_tensor(const Checker& c, const Tensor& cu) {
  c.rank(cu, "cuSeqlens", 1);
  c.dtype(cu, "cuSeqlens", {DType::i32});
  if (cu.shape[0] < 1) c.bad(code::kShapeMismatch, "cuSeqlens", "must have one element more than there are sequences");
}

inline void check_head_dim(const Checker& c, int64_t dim) {
  if (dim < 8 || dim % 8 != 0)
    c.bad(code::kShapeMismatch, "head dimension", "must be a positive multiple of 8, got " + std::to_string(dim));
}

}  // namespace caracal

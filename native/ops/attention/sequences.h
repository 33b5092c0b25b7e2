#pragma once
// What tensors of indices must hold, looked at before anything they point to is touched.
#include <string>

#include "core/check.h"

namespace caracal {

// cuSeqlens [B + 1]: sequence b is rows [cu[b], cu[b + 1]) of `rows` rows.
inline void check_sequences(const char* op, const Tensor& cu, int64_t rows) {
  const int32_t* c = cu.data<int32_t>();
  const int64_t last = cu.shape[0] - 1;
  auto bad = [&](int64_t i, const std::string& want) {
    fail(code::kIndexOutOfRange,
         std::string(op) + ": cuSeqlens[" + std::to_string(i) + "] must be " + want + ", got " + std::to_string(c[i]));
  };
  if (c[0] != 0) bad(0, "0");
  for (int64_t i = 1; i <= last; i++)
    if (c[i] < c[i - 1]) bad(i, "at least its predecessor " + std::to_string(c[i - 1]));
  if (c[last] != rows) bad(last, "the number of rows, " + std::to_string(rows));
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

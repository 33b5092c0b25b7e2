#pragma once
// The storage of a packed weight: the matrices with N padded to the columns of a panel, followed, for f8e4m3, by the
// block scales of every matrix. Its size is the same on every backend, so that the contract does not depend on the
// backend.
#include <string>

#include "core/dtype.h"
#include "core/error.h"
#include "core/scale_block.h"

namespace caracal {

inline constexpr int64_t kPanelColumns = 16;  // the CPU's panels need the padding (cpu/gemm_panels.h)

CARACAL_INLINE constexpr size_t panels_bytes(int64_t n, int64_t k, DType dtype) {
  return static_cast<size_t>(round_up(n, kPanelColumns) * k) * dtype_bytes(dtype);
}

CARACAL_INLINE constexpr size_t packed_bytes(int64_t matrices, int64_t n, int64_t k, DType dtype) {
  const size_t scales = dtype == DType::f8e4m3 ? static_cast<size_t>(matrices * scale_count(n, k)) * sizeof(float) : 0;
  return panels_bytes(n, k, dtype) * static_cast<size_t>(matrices) + scales;
}

// Packing refuses f8e4m3 weights with a NaN, whose code the matrix kernels would read as a number.
inline Error nan_weight_error(const char* op, int64_t row, int64_t column) {
  return Error(code::kInvalidArgument,
               std::string(op) + ": the f8e4m3 weight is NaN at row " + std::to_string(row) + ", column " +
                   std::to_string(column) + ": the checkpoint is damaged",
               {{"operation", op}});
}

}  // namespace caracal

#pragma once
// The storage of a packed weight: the matrices with N padded to the columns of a panel, followed, for f8e4m3, by the
// block scales of every matrix. Its size is the same on every backend, so that the contract does not depend on the
// backend.
//
// q4 and q8 are affine codes, as MLX defines them: weight = scale * code + bias, where a code is an unsigned integer of 4
// or 8 bits, and each group of 32, 64 or 128 elements of a row has a scale and a bias (GroupScales in core/tensor.h).
#include <string>

#include "core/error.h"
#include "core/scale_block.h"
#include "core/tensor.h"

namespace caracal {

inline constexpr int64_t kPanelColumns = 16;  // the CPU's panels need the padding (cpu/gemm_panels.h)

inline constexpr bool is_affine(DType dtype) { return dtype == DType::q4 || dtype == DType::q8; }

// The bytes of a row's codes; an f8e4m3 row is padded to pairs.
inline constexpr size_t code_bytes(int64_t k, DType dtype) {
  const size_t elements = static_cast<size_t>(k);
  if (dtype == DType::q4) return divide_up(elements, size_t{2});
  if (dtype == DType::q8) return elements;
  return dtype == DType::f8e4m3 ? round_up(elements, size_t{2}) : elements * dtype_bytes(dtype);
}

// The bytes of a row's scales and biases.
inline constexpr size_t group_scale_bytes(int64_t k, const GroupScales& scales) {
  return scales.group > 0 ? static_cast<size_t>(k / scales.group) * 2 * dtype_bytes(scales.dtype) : 0;
}

inline constexpr size_t panels_bytes(int64_t n, int64_t k, DType dtype, const GroupScales& scales = {}) {
  return static_cast<size_t>(round_up(n, kPanelColumns)) * (code_bytes(k, dtype) + group_scale_bytes(k, scales));
}

inline constexpr size_t packed_bytes(int64_t matrices, int64_t n, int64_t k, DType dtype,
                                     const GroupScales& scales = {}) {
  const size_t blocks = dtype == DType::f8e4m3 ? static_cast<size_t>(matrices * scale_count(n, k)) * sizeof(float) : 0;
  return panels_bytes(n, k, dtype, scales) * static_cast<size_t>(matrices) + blocks;
}

// Packing refuses f8e4m3 weights with a NaN, whose code the matrix kernels would read as a number.
inline Error nan_weight_error(const char* op, int64_t row, int64_t column) {
  return Error(code::kInvalidArgument,
               std::string(op) + ": the f8e4m3 weight is NaN at row " + std::to_string(row) + ", column " +
                   std::to_string(column) + ": the checkpoint is damaged",
               {{"operation", op}});
}

}  // namespace caracal

#pragma once
// The affine format, as MLX writes it: weight = scale * q + bias, with q an unsigned code of 2, 3, 4, 5, 6 or 8 bits, and one
// scale and bias per row and group of 32, 64 or 128 columns. The codes of a row are one little-endian stream of bits: code k
// is in the bits from k * bits on, where bit b is bit b % 8 of byte b / 8.
#include "core/check.h"

namespace caracal {

inline void check_affine_bits(const Checker& c, int64_t bits) {
  if (bits < 2 || bits > 8 || bits == 7)
    c.mismatch(code::kInvalidArgument, "bits", "must be", "2, 3, 4, 5, 6 or 8", std::to_string(bits));
}

inline bool is_affine_group(int64_t group) { return group == 32 || group == 64 || group == 128; }

inline Error weight_error(const char* op, int64_t row, int64_t column) {
  return Error(code::kInvalidArgument,
               std::string(op) + ": the weight at row " + std::to_string(row) + ", column " + std::to_string(column) +
                   " is NaN, infinite or beyond 2^126: the checkpoint is damaged",
               {{"operation", op}});
}

}  // namespace caracal

#pragma once
// Converts to a floating type, rounding to nearest even; f8e4m3 saturates at 448.
//   x  [...] any dtype      y  [...] f32 | f16 | bf16 | f8e4m3
#include "core/check.h"

namespace caracal {

struct Cast {
  static constexpr const char* kName = "cast";
  Tensor x;
  DType dtype = DType::f32;
  static constexpr auto kFields = std::tuple{field("x", &Cast::x), required("dtype", &Cast::dtype)};

  Outputs check() const {
    Checker c{kName};
    if (dtype == DType::i32 || dtype == DType::u8)
      c.mismatch(code::kDtypeMismatch, "dtype", "must be", "f32, bf16, f16 or f8e4m3", dtype_name(dtype));
    return {{dtype, x.shape}};
  }
};

}  // namespace caracal

#pragma once
// Elements from and to host arrays.
#include <cstddef>

#include "core/tensor.h"

namespace caracal {

// The element types of JavaScript's typed arrays that can fill a tensor.
enum class HostType { f32, f64, i32, u16, u8 };

// Writes a tensor's n elements to `out`. f32 and f64 are converted to a floating dtype; every other type is copied, and
// must hold the dtype's raw elements.
// @throws DTYPE_MISMATCH
void from_host(HostType type, const std::byte* from, size_t n, DType dtype, std::byte* out);

// Widens n elements to f32.
void to_float32(DType dtype, const std::byte* from, size_t n, float* out);

}  // namespace caracal

#pragma once
// Converts elements between tensors and host arrays.
#include <cstddef>

#include "core/tensor.h"

namespace caracal {

// The element types of the typed arrays that can fill a tensor.
enum class HostType { f32, f64, i32, u16, u8 };

// Writes the n elements of a tensor to `out`. f32 and f64 values are converted to a floating-point dtype; the other
// types are copied and must hold the raw elements of the dtype.
// @throws DTYPE_MISMATCH
void from_host(HostType type, const std::byte* from, size_t n, DType dtype, std::byte* out);

// Converts n elements to f32.
void to_float32(DType dtype, const std::byte* from, size_t n, float* out);

}  // namespace caracal

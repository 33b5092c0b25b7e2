#pragma once
#include "cuda/kernel.h"
#include "ops/elementwise/binary_kind.h"

namespace caracal {

// binary_<a>_<b>: a, b, y, number of elements of a, number of elements of b (after which b repeats), kind, whether
// vectors of 16 bytes can be moved
inline constexpr Kernel<const void*, const void*, void*, long long, long long, BinaryKind, bool> kBinary{"binary"};

}  // namespace caracal

#pragma once
#include "cuda/kernel.h"
#include "ops/elementwise/binary_kind.h"

namespace caracal {

// a, b, y, elements of a, elements of b, kind, whether 16 bytes at a time can be moved. binary_<a>_<b>
inline constexpr Kernel<const void*, const void*, void*, long long, long long, BinaryKind, bool> kBinary{"binary"};

}  // namespace caracal

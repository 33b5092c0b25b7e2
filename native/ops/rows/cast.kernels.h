#pragma once
#include "cuda/kernel.h"

namespace caracal {

// cast_<from>_<to>: x, y, number of elements, whether vectors of 16 bytes of the wider type can be moved
inline constexpr Kernel<const void*, void*, long long, bool> kCast{"cast"};

}  // namespace caracal

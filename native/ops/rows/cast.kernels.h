#pragma once
#include "cuda/kernel.h"

namespace caracal {

// x, y, elements, whether 16 bytes of the wider type at a time can be moved. cast_<from>_<to>
inline constexpr Kernel<const void*, void*, long long, bool> kCast{"cast"};

}  // namespace caracal

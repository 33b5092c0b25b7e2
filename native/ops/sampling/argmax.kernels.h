#pragma once
#include "cuda/kernel.h"

namespace caracal {

// best candidates [rows][parts], rows, parts, ids
inline constexpr Kernel<const unsigned long long*, long long, int, int*> kArgmax{"argmax"};

}  // namespace caracal

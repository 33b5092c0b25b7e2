#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

inline constexpr Kernel<const void*, void*, long long, bool, Fault*> kPackF8e4m3{"pack_weight_f8e4m3"};

}  // namespace caracal

#pragma once
#include "core/activation.h"
#include "cuda/kernel.h"

namespace caracal {

// activation_<dtype>: x, y, number of elements, function, whether vectors of 16 bytes can be moved
inline constexpr Kernel<const void*, void*, long long, Activation, bool> kActivation{"activation"};

}  // namespace caracal

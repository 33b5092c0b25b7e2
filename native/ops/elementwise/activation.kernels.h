#pragma once
#include "core/activation.h"
#include "cuda/kernel.h"

namespace caracal {

// x, y, elements, kind, whether 16 bytes at a time can be moved. activation_<dtype>
inline constexpr Kernel<const void*, void*, long long, Activation, bool> kActivation{"activation"};

}  // namespace caracal

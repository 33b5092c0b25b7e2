#pragma once
#include <cstdint>

namespace caracal {

// gelu is the exact erf form; relu6 is min(max(x, 0), 6). NaN stays NaN.
enum class Activation : uint8_t { none, relu, relu6, gelu, silu, tanh, sigmoid };
inline constexpr const char* kActivationNames[] = {"none", "relu", "relu6", "gelu", "silu", "tanh", "sigmoid"};

}  // namespace caracal

#pragma once
// The reductions of red that instructions apply asynchronously: red.async, cp.reduce.async.bulk.
#include <cstddef>
#include <cstdint>

#include "ptx/types.h"

namespace vgpu {

enum class Reduction : uint8_t { add, min, max, inc, dec, bit_and, bit_or, bit_xor, none };

// *at = operation(*at, *value) on one element. `exclusive`: no other host thread accesses it.
using Combine = void (*)(std::byte* at, const std::byte* value, bool exclusive);
// Null if the operation is not defined for the type. (instructions/reduction.cc)
Combine combine_of(Reduction operation, Type type);

}  // namespace vgpu

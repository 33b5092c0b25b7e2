#pragma once
// The reductions of red, for instructions that apply them asynchronously: red.async, cp.reduce.async.bulk.
#include <cstddef>
#include <cstdint>

#include "ptx/types.h"

namespace vgpu {

enum class Reduction : uint8_t { add, min, max, inc, dec, bit_and, bit_or, bit_xor, none };

// *at = operation(*at, *value) of one element. `alone`: no other thread of the host comes there.
using Combine = void (*)(std::byte* at, const std::byte* value, bool alone);
// Null if the operation is not defined for the type. (instructions/reduction.cc)
Combine combine_of(Reduction operation, Type type);

}  // namespace vgpu

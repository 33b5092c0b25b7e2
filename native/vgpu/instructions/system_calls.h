#pragma once
// The functions that every CUDA device provides: vprintf, __assertfail, malloc, free.
#include <string_view>

#include "program/program.h"

namespace vgpu {

// Returns null if there is none of that name.
Handler system_call(std::string_view name);

}  // namespace vgpu

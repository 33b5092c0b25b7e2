#pragma once
// The functions that every CUDA device offers: vprintf, __assertfail, malloc, free.
#include <string_view>

#include "program/program.h"

namespace vgpu {

// Null if there is none of that name.
Handler system_call(std::string_view name);

}  // namespace vgpu

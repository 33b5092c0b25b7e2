#pragma once
#include <string>

#include "ptx/syntax.h"

namespace vgpu {

// Reads a whole module. What is not PTX as documented is an error: nothing is skipped but debug sections.
// @throws PtxError
Module parse_ptx(std::string text);

}  // namespace vgpu

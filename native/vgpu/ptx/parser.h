#pragma once
#include <string>

#include "ptx/syntax.h"

namespace vgpu {

// Parses a whole module. Only debug sections are skipped; anything else outside the documented PTX is an error. @throws
// PtxError
Module parse_ptx(std::string text);

}  // namespace vgpu

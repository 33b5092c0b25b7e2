#pragma once
// The declarations of PTX: variables, parameters and their types.
#include <vector>

#include "ptx/token_reader.h"

namespace vgpu {

// @throws PtxError
Type parse_type(TokenReader& tokens);
// A declaration with its initial value, up to the semicolon. @throws PtxError
Variable parse_variable(TokenReader& tokens);
// A list of declarations in parentheses. @throws PtxError
std::vector<Variable> parse_parameters(TokenReader& tokens);

}  // namespace vgpu

#pragma once
// The operands of an instruction: registers, constants, addresses, and lists of operands.
#include "ptx/token_reader.h"

namespace vgpu {

// @throws PtxError
Operand parse_operand(TokenReader& tokens);

}  // namespace vgpu

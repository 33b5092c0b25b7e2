#pragma once
// Every file of this folder is a chapter of the PTX ISA and offers its opcodes as a table.
#include <span>

#include "program/decoding.h"

namespace vgpu {

std::span<const Opcode> barrier_opcodes();
std::span<const Opcode> comparison_opcodes();
std::span<const Opcode> control_opcodes();
std::span<const Opcode> conversion_opcodes();
std::span<const Opcode> floating_opcodes();
std::span<const Opcode> integer_opcodes();
std::span<const Opcode> logic_opcodes();
std::span<const Opcode> memory_opcodes();
std::span<const Opcode> move_opcodes();

}  // namespace vgpu

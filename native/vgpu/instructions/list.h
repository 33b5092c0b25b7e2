#pragma once
// The tables of opcodes, one per chapter of the PTX ISA. A chapter is a file of this folder.
#include <span>

#include "program/decoding.h"

namespace vgpu {

std::span<const Opcode> async_copy_opcodes();
std::span<const Opcode> atomic_opcodes();
std::span<const Opcode> barrier_opcodes();
std::span<const Opcode> bit_opcodes();
std::span<const Opcode> cluster_opcodes();
std::span<const Opcode> comparison_opcodes();
std::span<const Opcode> control_opcodes();
std::span<const Opcode> conversion_opcodes();
std::span<const Opcode> fence_opcodes();
std::span<const Opcode> floating_opcodes();
std::span<const Opcode> half_opcodes();
std::span<const Opcode> integer_opcodes();
std::span<const Opcode> logic_opcodes();
std::span<const Opcode> matrix_opcodes();
std::span<const Opcode> memory_opcodes();
std::span<const Opcode> move_opcodes();
std::span<const Opcode> warp_opcodes();
std::span<const Opcode> wgmma_opcodes();
std::span<const Opcode> wmma_opcodes();

}  // namespace vgpu

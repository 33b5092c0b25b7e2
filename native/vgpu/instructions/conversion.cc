// PTX ISA, "Data Movement and Conversion Instructions": cvt.
#include "instructions/lanes.h"
#include "instructions/list.h"

namespace vgpu {

std::span<const Opcode> conversion_opcodes() { return {}; }

}  // namespace vgpu

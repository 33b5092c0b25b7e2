#pragma once
// Assigns virtual registers to slots of the frame; registers that are never live at the same time share one. NVVM's PTX
// is nearly in single-assignment form: packing makes its frames about four times smaller, so that they stay in the
// cache.
#include <cstdint>
#include <vector>

namespace vgpu {

struct RegisterUse {
  uint32_t op, reg;
  bool write;
};

struct RegisterFlow {
  uint32_t ops;
  std::vector<RegisterUse> uses;  // in the order of ops; a guarded write is also a read
  struct Jump {
    uint32_t op, target;
  };
  std::vector<Jump> jumps;
  std::vector<bool> ends;  // per op: control never continues to the next
};

// The classes of registers by bytes per lane. A predicate takes 4 bytes for all lanes.
enum class RegisterClass : uint8_t { predicate, bytes2, bytes4, bytes8, bytes16 };
constexpr uint32_t kRegisterBytes[] = {4, 64, 128, 256, 512};

// The offset of each register, starting at `begin`. `end` receives the end of the last one.
std::vector<uint32_t> pack_registers(const RegisterFlow& flow, const std::vector<RegisterClass>& classes,
                                     uint32_t begin, uint32_t& end);

}  // namespace vgpu

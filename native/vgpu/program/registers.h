#pragma once
// Virtual registers to places in the frame: those that never live at the same time share one. NVVM's PTX is nearly in
// single-assignment form; packed, a frame of it is a quarter as large and stays in the cache.
#include <cstdint>
#include <vector>

namespace vgpu {

struct RegisterUse {
  uint32_t op, reg;
  bool write;
};

struct RegisterFlow {
  uint32_t ops;
  std::vector<RegisterUse> uses;  // in the order of ops; a write under a guard is also a read
  struct Jump {
    uint32_t op, target;
  };
  std::vector<Jump> jumps;
  std::vector<bool> ends;  // per op: never goes on to the next
};

// The classes of registers, by bytes per lane; a predicate is 4 bytes in all.
enum class RegisterClass : uint8_t { predicate, bytes2, bytes4, bytes8, bytes16 };
constexpr uint32_t kRegisterBytes[] = {4, 64, 128, 256, 512};

// The place of every register, from `begin` on; `end` receives the end of the last.
std::vector<uint32_t> pack_registers(const RegisterFlow& flow, const std::vector<RegisterClass>& classes,
                                     uint32_t begin, uint32_t& end);

}  // namespace vgpu

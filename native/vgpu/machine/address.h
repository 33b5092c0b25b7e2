#pragma once
// Addresses. Generic ones of shared, local and parameter memory lie in windows of their own; all others are global.
// Those of a block's shared memory are offsets; of another block of the cluster they carry its rank above bit 24.
#include <cstdint>

#include "check/shadow.h"
#include "machine/warp.h"
#include "ptx/types.h"

namespace vgpu {

constexpr uint64_t kSharedWindow = uint64_t{1} << 40, kLocalWindow = uint64_t{2} << 40,
                   kParamWindow = uint64_t{3} << 40;
constexpr uint64_t kWindowBytes = uint64_t{1} << 32;
constexpr unsigned kRankShift = 24;

inline uint64_t window_of(Space space) {
  return space == Space::shared  ? kSharedWindow
         : space == Space::local ? kLocalWindow
         : space == Space::param ? kParamWindow
                                 : 0;
}

// Ordered ones are those of volatile, relaxed, acquire and release: they may meet without a race.
enum class Access : uint8_t { read, write, atomic, ordered_read, ordered_write };

// [op.a + op.imm] of every lane, as its state space has it.
void addresses_of(Warp& w, const Op& op, uint64_t (&out)[kLanes]);

// Where the host has the `bytes` at each address of the lanes in mask; every access is checked.
// @throws DeviceFault
void resolve(Warp& w, Space space, const uint64_t (&address)[kLanes], unsigned bytes, Access access, uint32_t mask,
             std::byte* (&host)[kLanes], By by = By::warp);

// The same for one address and any number of bytes.
std::byte* resolve_one(Warp& w, Space space, uint64_t address, uint64_t bytes, Access access, int lane,
                       By by = By::warp);

}  // namespace vgpu

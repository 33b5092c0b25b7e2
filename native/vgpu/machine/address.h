#pragma once
// Device addresses. In the generic space shared, local and parameter memory have a window each; all other addresses are
// global. A shared address is an offset into the block's shared memory; for another block of the cluster its rank + 1
// is added above bit 24.
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

// Ordered accesses are volatile, relaxed, acquire and release ones; they do not race with each other.
enum class Access : uint8_t { read, write, atomic, ordered_read, ordered_write };

// Computes [op.a + op.imm] for every lane.
void addresses_of(Warp& w, const Op& op, uint64_t (&out)[kLanes]);

// Checks the access and computes the host address for every lane in mask. @throws DeviceFault
void resolve(Warp& w, Space space, const uint64_t (&address)[kLanes], unsigned bytes, Access access, uint32_t mask,
             std::byte* (&host)[kLanes], By by = By::warp);

// As resolve, for a single address and any number of bytes.
std::byte* resolve_one(Warp& w, Space space, uint64_t address, uint64_t bytes, Access access, int lane,
                       By by = By::warp);

}  // namespace vgpu

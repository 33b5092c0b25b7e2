#pragma once
#include <cstdint>

#include "cuda/device/index.cuh"

namespace caracal {

// Copies n bytes to shared memory by one warp, 16 at a time except at unaligned ends. `to` is aligned to 16 bytes and
// has room for 15 more than n, because the copy keeps the misalignment of `from`; returns where it starts.
__device__ inline const uint8_t* stage_bytes(uint8_t* to, const uint8_t* from, long long n) {
  const int lane = lane_index(), skew = static_cast<int>(reinterpret_cast<uintptr_t>(from) % 16);
  uint8_t* const at = to + skew;
  const long long before = min(n, static_cast<long long>((16 - skew) % 16)), aligned = (n - before) / 16 * 16;
  for (long long i = before + lane * 16; i < before + aligned; i += kWarp * 16)
    *reinterpret_cast<uint4*>(at + i) = *reinterpret_cast<const uint4*>(from + i);
  if (lane < n - aligned) {
    const long long i = lane < before ? lane : lane + aligned;
    at[i] = from[i];
  }
  return at;
}

}  // namespace caracal

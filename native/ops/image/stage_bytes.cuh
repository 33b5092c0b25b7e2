#pragma once
#include <cstdint>

#include "cuda/device/reduce.cuh"

namespace caracal {

// A warp copies n bytes to shared memory, 16 at a time but for those before and after the aligned ones. They begin at
// the pointer that is returned: `to`, which is aligned to 16 and has room for 15 bytes more, plus what `from` is past
// such a place.
__device__ inline const uint8_t* stage_bytes(uint8_t* to, const uint8_t* from, long long n) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp,
            skew = static_cast<int>(reinterpret_cast<uintptr_t>(from) % 16);
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

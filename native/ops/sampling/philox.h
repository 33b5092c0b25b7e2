#pragma once
// Philox4x32-10, a counter-based random generator: its numbers depend on key and counter alone, so draws can be repeated
// and made in any order. (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.)
#include <array>
#include <cstdint>

#include "core/dtype.h"

namespace caracal {

CARACAL_INLINE std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; round++) {
    const uint64_t a = uint64_t{0xd2511f53u} * counter[0];
    const uint64_t b = uint64_t{0xcd9e8d57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9e3779b9u, key[1] + 0xbb67ae85u};
  }
  return counter;
}

// Uniform in [0, 2^64). `stream` distinguishes draws with the same seed and step.
CARACAL_INLINE uint64_t uniform(uint64_t seed, uint64_t step, uint32_t stream) {
  const auto low = [](uint64_t v) { return static_cast<uint32_t>(v); };
  const auto bits = philox({low(step), low(step >> 32), stream, 0}, {low(seed), low(seed >> 32)});
  return uint64_t{bits[0]} << 32 | bits[1];
}

}  // namespace caracal

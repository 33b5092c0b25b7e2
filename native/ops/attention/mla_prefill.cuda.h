#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/math.h"

namespace caracal::cuda {

// How many keys of each sequence mlaPrefill makes at once: all that there can be, if they have room in a 128th of the
// memory. Tiles begin at multiples of their size, and unfinished sums are kept as they are: none changes any bits.
inline int64_t key_room(int64_t capacity, int64_t sequences, int64_t key_bytes, size_t memory) {
  constexpr int64_t kTile = 64;
  const int64_t all = std::max(round_up(capacity, kTile), kTile);
  const int64_t room = static_cast<int64_t>(memory / 128) / (key_bytes * std::max<int64_t>(sequences, 1));
  return std::clamp(room / kTile * kTile, kTile, all);
}

}  // namespace caracal::cuda

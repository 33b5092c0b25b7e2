#pragma once
// How the work of attention is cut, and the choice among kernels: small functions of sizes. None changes any bits.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ops/attention/mla.kernels.h"

namespace caracal::cuda {

// Tiles of so many rows, whatever the sequences (sequences.cuh); one at least, which looks at where sequences start.
inline int64_t flash_tiles(int64_t rows, int64_t sequences, int64_t tile_rows) {
  return rows / tile_rows + std::max<int64_t>(sequences, 1);
}

// How many keys of each sequence mlaPrefill makes at once: all that there can be, if they have room in a 128th of the
// memory. Tiles begin at multiples of their size, and unfinished sums are kept as they are.
inline int64_t key_room(int64_t capacity, int64_t sequences, int64_t key_bytes, size_t memory) {
  constexpr int64_t kTile = 64;
  const int64_t all = std::max((capacity + kTile - 1) / kTile * kTile, kTile);
  const int64_t room = static_cast<int64_t>(memory / 128) / (key_bytes * std::max<int64_t>(sequences, 1));
  return std::clamp(room / kTile * kTile, kTile, all);
}

// Into how many splits mlaDecode cuts sequences of up to so many keys; one at least, which looks at their lengths. The
// length of a split is fixed, so that a row's bits do not depend on its neighbours.
inline int64_t decode_splits(int64_t capacity) {
  return std::max<int64_t>((capacity + kSplitKeys - 1) / kSplitKeys, 1);
}

// Of TensorDecode<heads>::Memory: queries, two tiles of keys, weights, where the rows of a split are, maxima and sums.
constexpr size_t decode_shared_bytes(size_t heads) {
  constexpr size_t kRow = 576 * 2, kKeys = 32;
  const size_t bytes = heads * kRow + 2 * kKeys * kRow + heads * kKeys * 2 + kSplitKeys * 8 + heads * 5 * 4;
  return (bytes + 127) / 128 * 128;
}

// How many heads share a block of that kernel, where there would be so many blocks of 64. More read the cache less
// often, fewer keep more of the GPU busy; 64 need more shared memory than some GPUs have.
inline int decode_heads(int64_t heads, int64_t blocks, int sms, size_t shared_bytes) {
  return heads > 16 && blocks >= sms && shared_bytes >= decode_shared_bytes(64) ? 64 : 16;
}

}  // namespace caracal::cuda

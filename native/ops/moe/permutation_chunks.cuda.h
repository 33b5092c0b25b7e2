#pragma once
// How the permutation cuts the picks into chunks: a pure function of sizes.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/math.h"
#include "ops/moe/permutation.kernels.h"

namespace caracal::cuda {

struct PermutationChunks {
  int picks;             // per chunk
  int per_block;         // chunks; each has a warp
  unsigned blocks;       // at least one, which writes the offsets even if there are no picks
  size_t counter_bytes;  // of a block in shared memory; 0 if not even one chunk's counters fit
};

// Every chunk has a counter per expert. While its chunks stay short, a single block is fastest, since it needs no second
// launch; beyond that there are up to as many blocks as multiprocessors.
inline PermutationChunks permutation_chunks(int64_t picks, int64_t experts, int sms) {
  constexpr int64_t kMaxShared = 48 << 10, kMinChunk = 128, kMaxChunkOfOneBlock = 512, kWarpPicks = 32;
  const auto at_least_one = [](int64_t n) { return std::max<int64_t>(n, 1); };
  const int64_t chunk_bytes = experts * int64_t{sizeof(int)};
  const int64_t max_chunks = std::min<int64_t>(kMaxShared / chunk_bytes, kMaxChunks);
  if (max_chunks == 0) return {int(at_least_one(divide_up(picks, kWarpPicks)) * kWarpPicks), 1, 1, 0};
  const bool one_block = picks <= max_chunks * kMaxChunkOfOneBlock;
  const int64_t blocks = one_block ? 1 : std::min<int64_t>(divide_up(picks, max_chunks * kMinChunk), sms);
  const int64_t even = at_least_one(divide_up(picks, blocks * max_chunks * kWarpPicks)) * kWarpPicks;
  const int64_t chunk = std::max(even, kMinChunk);
  const int64_t per_block = std::min(max_chunks, at_least_one(divide_up(picks, chunk)));
  return {int(chunk), int(per_block), unsigned(at_least_one(divide_up(picks, chunk * per_block))),
          size_t(per_block * chunk_bytes)};
}

}  // namespace caracal::cuda

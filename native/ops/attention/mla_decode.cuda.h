#pragma once
// The division of work and the choice of kernels in mlaDecode: pure functions of sizes and dtypes.
#include <algorithm>

#include "cuda/gemm/tiles.h"
#include "ops/attention/mla.h"
#include "ops/attention/mla_decode.kernels.h"

namespace caracal::cuda {

// The splits per sequence, for sequences of up to `capacity` keys. There is at least one: its blocks check seqLens.
inline int64_t mla_splits(int64_t capacity) { return std::max<int64_t>(divide_up(capacity, kSplitKeys), 1); }

// True if the split kernel runs on tensor cores; its queries q~ are then bf16.
inline bool mla_split_on_tensor_cores(const MlaSizes& d, DType q, DType cache, bool cache_aligned) {
  return q == DType::bf16 && cache == DType::bf16 && cache_aligned && d.latent == MlaSplitTile::kLatent &&
         d.cache_width() == MlaSplitTile::kWidth;
}

constexpr size_t mla_split_shared_bytes(int heads) {
  return heads == 64 ? sizeof(MlaSplitMemory<64>) : sizeof(MlaSplitMemory<16>);
}

// The heads per block of the split kernel on tensor cores, for `splits` splits of all sequences together. Blocks of 64
// heads read the cache less often, but occupy fewer multiprocessors and need more shared memory than some GPUs have.
inline int mla_split_heads(int64_t heads, int64_t splits, int sms, size_t shared_bytes) {
  const bool busy = splits * divide_up(heads, 64) >= sms;
  return heads > 16 && busy && shared_bytes >= mla_split_shared_bytes(64) ? 64 : 16;
}

// True if the values kernel runs on tensor cores; its input o~ is then bf16.
inline bool mla_values_on_tensor_cores(const MlaSizes& d, bool tensor_splits, DType w, bool weight_aligned) {
  // The columns of a tile share a block of scales, so a head's values begin at the start of a block.
  const bool whole_blocks = w == DType::bf16 || (d.nope % kScaleBlock == 0 && d.value % kScaleBlock == 0);
  return tensor_splits && w != DType::f32 && whole_blocks && weight_aligned;
}

inline GemmTile mla_values_tile(int64_t sequences, bool tensor, DType w) {
  if (!tensor) return gemm_tile(kMlaValuesSimtShape);
  const auto& [small, medium] = kMlaValuesTensorShapes;
  return tensor_tile(sequences > small.rows ? medium : small, 1, w);
}

}  // namespace caracal::cuda

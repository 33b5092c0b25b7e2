#pragma once
// The division of work and the choice of kernels in mlaPrefill: pure functions of sizes and dtypes.
#include <algorithm>

#include "cuda/gemm/tiles.h"
#include "ops/attention/flash.cuda.h"
#include "ops/attention/mla.h"
#include "ops/attention/mla_prefill.kernels.h"

namespace caracal::cuda {

// True if keys are expanded and attended to on tensor cores; they are then bf16, else f32. `aligned` covers q, the
// cache and the weight.
inline bool mla_prefill_on_tensor_cores(const MlaSizes& d, DType q, DType cache, DType w, bool aligned) {
  return q == DType::bf16 && cache == DType::bf16 && w != DType::f32 && aligned && d.nope % 8 == 0 && d.rope % 8 == 0 &&
         tensor_flash_shape(d.qk_dim(), d.value);
}

// The number of keys of each sequence that are expanded at once: all that the block table can hold, if they fit in a
// 128th of the memory. Chunks are multiples of the tiles of keys and unfinished sums are saved exactly, so chunks do
// not affect bits.
inline int64_t mla_key_room(int64_t capacity, int64_t sequences, int64_t key_bytes, size_t memory) {
  constexpr int64_t kTile = TensorFlashShape::kKeys;
  const int64_t all = std::max(round_up(capacity, kTile), kTile);
  const int64_t room = int64_t(memory / 128) / (key_bytes * std::max<int64_t>(sequences, 1));
  return std::clamp(room / kTile * kTile, kTile, all);
}

inline GemmTile mla_keys_tile(bool tensor, DType w) {
  return tensor ? tensor_tile(kMlaKeysTensorShape, 1, w) : gemm_tile(kMlaKeysSimtShape);
}

}  // namespace caracal::cuda

#include "ops/attention/mla_cache_write.h"

#include <numeric>

#include "cuda/implement.h"
#include "ops/attention/mla_cache_write.kernels.h"

namespace caracal::cuda {

void run(const MlaCacheWrite& op, std::span<Tensor>, Cuda& cuda) {
  const int64_t tokens = op.kv.shape[0], latent = op.norm_weight.shape[0], rotated = op.kv.shape[1] - latent;
  const int64_t rows = op.cache.shape[0] * op.cache.shape[1];
  // Rows of both parts in vectors of what 16 bytes of the cache hold.
  const RowBlocks blocks = row_blocks(op.cache.dtype, std::gcd(latent, rotated),
                                      {address(op.kv), address(op.norm_weight), address(op.cache)});
  const RowBlocks row = row_blocks(op.kv.dtype, latent, {});
  cuda.launch(
      entry_of(kMlaCacheWrite, op.kv.dtype, op.norm_weight.dtype, op.cache.dtype),
      {{unsigned(tokens)}, 128, row.shared_bytes},
      MlaCacheWriteParameters{address(op.kv), address(op.norm_weight), address(op.cache), op.positions.data<int>(),
                              op.slots.data<int>(),
                              cuda.fault([rows](const Fault& f) { return slot_error(f.position, f.value, rows); }),
                              rows, int(latent), int(rotated), float(op.eps), float(op.scale), blocks.aligned,
                              row.shared_bytes > 0, rotary_table(op.theta, rotated)});
}

}  // namespace caracal::cuda

#include "ops/attention/mla_cache_write.h"

#include <numeric>

#include "cuda/implement.h"
#include "ops/attention/mla_cache_write.kernels.h"
#include "ops/attention/rotation.cuda.h"

namespace caracal::cuda {

void run(const MlaCacheWrite& op, std::span<Tensor>, Cuda& cuda) {
  const int64_t tokens = op.kv.shape[0], latent = op.norm_weight.shape[0], rotated = op.kv.shape[1] - latent;
  const int64_t rows = op.cache.shape[0] * op.cache.shape[1];
  // Both parts of a row are moved in vectors of the cache's dtype.
  const RowBlocks blocks = row_blocks(op.cache.dtype, std::gcd(latent, rotated),
                                      {address(op.kv), address(op.norm_weight), address(op.cache)});
  const RowBlocks row = row_blocks(op.kv.dtype, latent, {});
  Fault* fault = cuda.fault([rows](const Fault& f) { return slot_error(f.position, f.value, rows); });
  cuda.launch(entry_of(kMlaCacheWrite, op.kv.dtype, op.norm_weight.dtype, op.cache.dtype),
              {{unsigned(tokens)}, 128, row.shared_bytes},
              MlaCacheWriteParameters{.kv = address(op.kv),
                                      .weight = address(op.norm_weight),
                                      .cache = address(op.cache),
                                      .positions = op.positions.data<int>(),
                                      .slots = op.slots.data<int>(),
                                      .fault = fault,
                                      .rows = rows,
                                      .latent = int(latent),
                                      .rotated = int(rotated),
                                      .eps = float(op.eps),
                                      .scale = float(op.scale),
                                      .aligned = blocks.aligned,
                                      .in_shared = row.shared_bytes > 0,
                                      .frequencies = rotary_frequencies(op.theta, rotated)});
}

}  // namespace caracal::cuda

// C functions around the choices of tiles, blocks and chunks, for tiles.test.ts.
#include "cuda/gemm/tiles.h"

#include "ops/moe/group_classes.cuda.h"
#include "ops/moe/permutation_chunks.cuda.h"
#include "ops/moe/router_tiles.cuda.h"

using namespace caracal;
using namespace caracal::cuda;

extern "C" GemmTile choose_simt(int64_t m, int64_t n, int groups, int sms) { return simt_tile(m, n, groups, sms); }
extern "C" GemmTile choose_tensor(int64_t m, int64_t n, int groups, int dtype, int sms) {
  return tensor_tile(m, n, groups, static_cast<DType>(dtype), sms);
}
extern "C" GemmTile choose_conv(int64_t m, int64_t n, int sms) { return conv_tile(m, n, sms); }
extern "C" int64_t count_tiles(const GemmTile* t, int64_t m, int64_t n) { return tile_count(*t, m, n); }

extern "C" GemmTile choose_logits(int64_t m, int64_t n, int x, int w, int sms) {
  return logit_tile(m, n, static_cast<DType>(x), static_cast<DType>(w), sms);
}

extern "C" int choose_lane_scores(int64_t all) { return lane_scores(all); }

extern "C" int count_groups(int x, int w, int groups, int64_t rows) {
  return static_cast<int>(group_classes(static_cast<DType>(x), static_cast<DType>(w), groups, rows).size());
}
extern "C" GroupClass choose_group(int x, int w, int groups, int64_t rows, int index) {
  return group_classes(static_cast<DType>(x), static_cast<DType>(w), groups, rows)[static_cast<size_t>(index)];
}
extern "C" unsigned count_group_blocks(const GroupClass* c, int64_t rows, int64_t n, int64_t experts, int sms,
                                       size_t shared_bytes) {
  return group_blocks(*c, rows, n, experts, sms, shared_bytes);
}

extern "C" PermutationChunks choose_chunks(int64_t picks, int64_t experts, int sms) {
  return permutation_chunks(picks, experts, sms);
}

// native/cuda/gemm/tiles.h for tiles.test.ts.
#include "cuda/gemm/tiles.h"

using namespace caracal;
using namespace caracal::cuda;

extern "C" GemmTile choose_simt(int64_t m, int64_t n, int groups, int sms) { return simt_tile(m, n, groups, sms); }
extern "C" GemmTile choose_tensor(int64_t m, int64_t n, int groups, int dtype, int sms) {
  return tensor_tile(m, n, groups, static_cast<DType>(dtype), sms);
}
extern "C" int64_t count_tiles(const GemmTile* t, int64_t m, int64_t n) { return tile_count(*t, m, n); }

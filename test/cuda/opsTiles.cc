// The pure functions that divide rows, images and logits among blocks, for opsTiles.test.ts.
#include "ops/image/patchify.cuda.h"
#include "ops/image/resize_bicubic.cuda.h"
#include "ops/rows/units.cuda.h"
#include "ops/sampling/candidates.cuda.h"

using namespace caracal;
using namespace caracal::cuda;

extern "C" size_t choose_unit(size_t length, uintptr_t address) {
  return unit_bytes({length}, {reinterpret_cast<const void*>(address)});
}
extern "C" RowLanes choose_lanes(int64_t rows, int64_t items) { return row_lanes(rows, items); }

extern "C" PatchTile choose_patches(int64_t patch, int64_t temporal, int64_t patches) {
  return patch_tile(patch, temporal, patches);
}
extern "C" size_t patch_bytes(const PatchTile* tile) { return PatchParameters{.tile = *tile}.shared_bytes(); }

extern "C" AcrossPlan choose_across(int64_t rows, int64_t columns, int64_t channels, int width, int max_taps) {
  return across_plan(rows, columns, channels, width, max_taps);
}
extern "C" DownPlan choose_down(int64_t bytes, int64_t height, uintptr_t from, uintptr_t to) {
  return down_plan(bytes, height, reinterpret_cast<const void*>(from), reinterpret_cast<const void*>(to));
}

extern "C" AllowedIds choose_parts(int64_t columns, const int64_t* allowed, int n) {
  return allowed_ids(columns, {allowed, allowed + n}, nullptr);
}

// The division of work in native/ops/attention, for attentionTiles.test.ts.
#include "ops/attention/mla_decode.cuda.h"
#include "ops/attention/mla_prefill.cuda.h"
#include "ops/attention/rope.cuda.h"

using namespace caracal;
using namespace caracal::cuda;

extern "C" int64_t count_flash_tiles(int64_t rows, int64_t sequences, int64_t tile) {
  return flash_tiles(rows, sequences, tile);
}
extern "C" SimtFlashColumns divide_columns(int64_t v_dim) { return simt_flash_columns(v_dim); }
extern "C" const char* choose_flash(int64_t qk_dim, int64_t v_dim) {
  const TensorFlashShape* shape = tensor_flash_shape(qk_dim, v_dim);
  return shape ? shape->name : "simt";
}
extern "C" size_t flash_shared_bytes(int64_t qk_dim, int64_t v_dim) {
  return tensor_flash_shape(qk_dim, v_dim)->shared_bytes();
}
extern "C" bool can_move(uint64_t address, int64_t row_stride, int64_t head_stride, bool bf16, int64_t elements) {
  return rows_aligned({reinterpret_cast<const void*>(address), row_stride, head_stride, bf16}, elements);
}

extern "C" int64_t choose_key_room(int64_t capacity, int64_t sequences, int64_t key_bytes, size_t memory) {
  return mla_key_room(capacity, sequences, key_bytes, memory);
}
extern "C" bool prefill_on_tensor_cores(const MlaSizes* d, int q, int cache, int w, bool aligned) {
  return mla_prefill_on_tensor_cores(*d, DType(q), DType(cache), DType(w), aligned);
}
extern "C" GemmTile choose_keys(bool tensor, int w) { return mla_keys_tile(tensor, DType(w)); }

extern "C" int64_t count_splits(int64_t capacity) { return mla_splits(capacity); }
extern "C" size_t split_shared_bytes(int heads) { return mla_split_shared_bytes(heads); }
extern "C" int choose_split_heads(int64_t heads, int64_t splits, int sms, size_t shared) {
  return mla_split_heads(heads, splits, sms, shared);
}
extern "C" bool split_on_tensor_cores(const MlaSizes* d, int q, int cache, bool aligned) {
  return mla_split_on_tensor_cores(*d, DType(q), DType(cache), aligned);
}
extern "C" bool values_on_tensor_cores(const MlaSizes* d, bool tensor_splits, int w, bool aligned) {
  return mla_values_on_tensor_cores(*d, tensor_splits, DType(w), aligned);
}
extern "C" GemmTile choose_values(int64_t sequences, bool tensor, int w) {
  return mla_values_tile(sequences, tensor, DType(w));
}

extern "C" int64_t choose_rope_heads(int64_t heads, int64_t items) { return rope_heads(heads, items); }

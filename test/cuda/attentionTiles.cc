// The functions of sizes of native/ops/attention for attentionTiles.test.ts.
#include "ops/attention/flash.cuda.h"
#include "ops/attention/mla_decode.cuda.h"
#include "ops/attention/mla_prefill.cuda.h"

using namespace caracal::cuda;

extern "C" int64_t count_tiles(int64_t rows, int64_t sequences, int64_t tile) {
  return flash_tiles(rows, sequences, tile);
}
extern "C" int64_t choose_room(int64_t capacity, int64_t sequences, int64_t key_bytes, size_t memory) {
  return key_room(capacity, sequences, key_bytes, memory);
}
extern "C" int64_t count_splits(int64_t capacity) { return decode_splits(capacity); }
extern "C" size_t shared_bytes(int heads) { return decode_shared_bytes(heads); }
extern "C" int choose_heads(int64_t heads, int64_t blocks, int sms, size_t shared) {
  return decode_heads(heads, blocks, sms, shared);
}

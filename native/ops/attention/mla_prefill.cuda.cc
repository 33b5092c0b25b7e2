#include "ops/attention/mla_prefill.h"

#include "cuda/attention/mla_launch.h"

namespace caracal::cuda {

namespace {

Error explain(const Fault& f, int64_t rows, int64_t blocks, int64_t block_size, int64_t table_width) {
  constexpr const char* kName = MlaPrefill::kName;
  if (f.argument == kQueries) return queries_error(kName, f.position, static_cast<int32_t>(f.value), f.value >> 32);
  if (f.argument == kLength || f.argument == kBlock)
    return explain_paged<MlaPrefill>(f, blocks, block_size, table_width);
  return explain_starts(kName, f, rows);
}

void make_keys(Cuda& cuda, const MlaKeysParameters& p, const MlaPrefill& op) {
  constexpr int64_t kTile = 64;
  const MlaSizes d = mla_sizes(op);
  const Grid grid{static_cast<unsigned>((d.heads * d.head_columns() + kTile - 1) / kTile),
                  static_cast<unsigned>((p.room + kTile - 1) / kTile), static_cast<unsigned>(op.block_table.shape[0])};
  cuda.launch({"attention", kernel_name("mla_keys_simt", op.cache.dtype, op.w_kv_b.dtype)}, grid, 256, 0, p);
}

}  // namespace

// How many keys of each sequence are made at once: all that there can be, if they have room.
inline int64_t key_room(int64_t capacity, int64_t sequences, int64_t key_bytes) {
  constexpr int64_t kTile = 64, kMostBytes = 512 << 20;
  const int64_t all = (capacity + kTile - 1) / kTile * kTile;
  return std::clamp<int64_t>(kMostBytes / (key_bytes * std::max<int64_t>(sequences, 1)) / kTile * kTile, kTile,
                             std::max(all, kTile));
}

void run(const MlaPrefill& op, std::span<Tensor> out, Cuda& cuda) {
  const MlaSizes d = mla_sizes(op);
  const int64_t rows = op.q.shape[0], sequences = op.block_table.shape[0], capacity = key_capacity(op);
  const int64_t blocks = op.cache.shape[0], block_size = op.cache.shape[1], table_width = op.block_table.shape[1];
  Fault* fault = cuda.fault([=](const Fault& f) { return explain(f, rows, blocks, block_size, table_width); });
  const int64_t key_elements = d.heads * d.depth(), value_elements = d.heads * d.value;
  const DType made = DType::f32;
  const int64_t room = key_room(capacity, sequences, (key_elements + value_elements) * dtype_bytes(made));
  const bool once = room >= capacity;
  const size_t keys = static_cast<size_t>(sequences * room) * dtype_bytes(made);
  Cuda::Temporary<std::byte> k(cuda, keys * key_elements), v(cuda, keys * value_elements);
  const size_t sums = once ? 0 : static_cast<size_t>(rows * d.heads);
  const unsigned parts = flash_parts(d.value);
  Cuda::Temporary<float> kept(cuda, sums * d.value), scales(cuda, sums * 2 * parts);
  MlaKeysParameters make{paged_cache(op, fault), mla_weight(op), k.data(), v.data(), 0, static_cast<int>(room)};
  FlashParameters p{.q = {address(op.q), key_elements, d.depth(), op.q.dtype == DType::bf16},
                    .k = {k.data(), key_elements, d.depth(), made == DType::bf16},
                    .v = {v.data(), value_elements, d.value, made == DType::bf16},
                    .packed = packed_rows(op.cu_seqlens, rows, fault),
                    .chunk = {op.seq_lens.data<int>(), capacity, 0, static_cast<int>(room), kept.data(), scales.data()},
                    .out = address(out[0]),
                    .heads = int(d.heads),
                    .depth = int(d.depth()),
                    .value = int(d.value),
                    .scale = score_scale(op.scale, d.depth()),
                    .causal = true,
                    .out_bf16 = out[0].dtype == DType::bf16,
                    .aligned = false};
  for (int64_t first = 0; first == 0 || first < capacity; first += room) {
    make.first = p.chunk.first = first;
    if (sequences > 0) make_keys(cuda, make, op);
    launch_flash(cuda, p);
  }
}

}  // namespace caracal::cuda

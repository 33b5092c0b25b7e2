#include "ops/attention/mla_prefill.h"

#include "ops/attention/mla.cuda.h"
#include "ops/attention/mla_prefill.cuda.h"

namespace caracal::cuda {

namespace {

Error explain(const Fault& f, int64_t rows, int64_t blocks, int64_t block_size, int64_t table_width) {
  constexpr const char* kName = MlaPrefill::kName;
  if (f.argument == kBadQueryCount) return queries_error(kName, f.position, int32_t(f.value), f.value >> 32);
  if (f.argument == kBadLength || f.argument == kBadBlock)
    return explain_paged<MlaPrefill>(f, blocks, block_size, table_width);
  return explain_cu_seqlens(kName, f, rows);
}

void expand_keys(Cuda& cuda, const MlaKeysParameters& p, const MlaPrefill& op, bool tensor) {
  const int64_t sequences = op.block_table.shape[0], columns = int64_t(p.w.heads) * p.w.head_rows();
  if (sequences == 0) return;
  const DType w = op.w_kv_b.dtype;
  const GemmTile tile = mla_keys_tile(tensor, w);
  cuda.launch(
      tensor ? entry_of(kMlaKeysTensor, w) : entry_of(kMlaKeysSimt, op.cache.dtype, w),
      {{unsigned(divide_up(columns, tile.columns)), unsigned(divide_up(p.room, tile.rows)), unsigned(sequences)},
       tile.threads,
       tile.shared_bytes},
      p);
}

}  // namespace

void run(const MlaPrefill& op, std::span<Tensor> out, Cuda& cuda) {
  const MlaSizes d = mla_sizes(op);
  const int64_t rows = op.q.shape[0], sequences = op.block_table.shape[0], capacity = key_capacity(op);
  const int64_t blocks = op.cache.shape[0], block_size = op.cache.shape[1], table_width = op.block_table.shape[1];
  Fault* fault = cuda.fault([=](const Fault& f) { return explain(f, rows, blocks, block_size, table_width); });
  const MlaWeight w = mla_weight(op);
  const bool aligned = w.aligned && vectorizable(0, {address(op.q)});
  const bool tensor = mla_prefill_on_tensor_cores(d, op.q.dtype, op.cache.dtype, op.w_kv_b.dtype, aligned);
  const int64_t key_elements = d.heads * d.qk_dim(), value_elements = d.heads * d.value, bytes = tensor ? 2 : 4;
  const int64_t room = mla_key_room(capacity, sequences, (key_elements + value_elements) * bytes, cuda.gpu.memory);
  Temporary<std::byte> k(cuda, size_t(sequences * room * key_elements * bytes));
  Temporary<std::byte> v(cuda, size_t(sequences * room * value_elements * bytes));
  const int64_t saved_rows = room >= capacity ? 0 : rows * d.heads;  // one chunk saves no state
  Temporary<float> sums(cuda, size_t(saved_rows * d.value));
  Temporary<float> stats(cuda, size_t(saved_rows * 2 * simt_flash_columns(d.value).parts));
  MlaKeysParameters keys{
      .cache = paged_cache(op, fault), .w = w, .k = k.data(), .v = v.data(), .first = 0, .room = int(room)};
  FlashParameters p{.q = {address(op.q), key_elements, d.qk_dim(), op.q.dtype == DType::bf16},
                    .k = {k.data(), key_elements, d.qk_dim(), tensor},
                    .v = {v.data(), value_elements, d.value, tensor},
                    .packed = packed_rows(op.cu_seqlens, rows, fault),
                    .chunk = {op.seq_lens.data<int>(), capacity, 0, int(room), sums.data(), stats.data()},
                    .out = address(out[0]),
                    .heads = int(d.heads),
                    .qk_dim = int(d.qk_dim()),
                    .v_dim = int(d.value),
                    .scale = score_scale(op.scale, d.qk_dim()),
                    .causal = true,
                    .out_bf16 = out[0].dtype == DType::bf16,
                    .aligned = false};
  for (int64_t first = 0; first == 0 || first < capacity; first += room) {
    keys.first = p.chunk.first = first;
    expand_keys(cuda, keys, op, tensor);
    launch_flash(cuda, p);
  }
}

}  // namespace caracal::cuda

#include "ops/attention/mla_prefill.h"

#include "cuda/gemm/tiles.h"
#include "ops/attention/mla.cuda.h"
#include "ops/attention/mla_prefill.cuda.h"
#include "ops/attention/mla_prefill.kernels.h"

namespace caracal::cuda {

namespace {

Error explain(const Fault& f, int64_t rows, int64_t blocks, int64_t block_size, int64_t table_width) {
  constexpr const char* kName = MlaPrefill::kName;
  if (f.argument == kQueries) return queries_error(kName, f.position, static_cast<int32_t>(f.value), f.value >> 32);
  if (f.argument == kLength || f.argument == kBlock)
    return explain_paged<MlaPrefill>(f, blocks, block_size, table_width);
  return explain_starts(kName, f, rows);
}

// Keys and values are bf16, and everything is made on tensor cores, where operands are bf16 (weights may be f8e4m3) and
// the heads have a kernel; else all is f32.
bool on_tensor_cores(const MlaPrefill& op, const MlaWeight& w) {
  const MlaSizes d = mla_sizes(op);
  return op.q.dtype == DType::bf16 && op.cache.dtype == DType::bf16 && op.w_kv_b.dtype != DType::f32 && w.aligned &&
         d.nope % 8 == 0 && d.rope % 8 == 0 && vectors(0, {address(op.q)}) && tensor_flash_shape(d.depth(), d.value);
}

void make_keys(Cuda& cuda, const MlaKeysParameters& p, const MlaPrefill& op, bool tensor) {
  const MlaSizes d = mla_sizes(op);
  const DType w = op.w_kv_b.dtype;
  const GemmTile tile = tensor ? tensor_tile(kMlaKeysTensorShape, 1, w) : gemm_tile(kMlaKeysSimtShape);
  const Grid grid{static_cast<unsigned>(divide_up(d.heads * d.head_columns(), tile.columns)),
                  static_cast<unsigned>(divide_up(p.room, tile.rows)), static_cast<unsigned>(op.block_table.shape[0])};
  if (tensor)
    cuda.launch(entry_of(kMlaKeysTensor, w), {grid, tile.threads, tile.shared_bytes}, p);
  else
    cuda.launch(entry_of(kMlaKeysSimt, op.cache.dtype, w), {grid, tile.threads}, p);
}

}  // namespace

void run(const MlaPrefill& op, std::span<Tensor> out, Cuda& cuda) {
  const MlaSizes d = mla_sizes(op);
  const int64_t rows = op.q.shape[0], sequences = op.block_table.shape[0], capacity = key_capacity(op);
  const int64_t blocks = op.cache.shape[0], block_size = op.cache.shape[1], table_width = op.block_table.shape[1];
  Fault* fault = cuda.fault([=](const Fault& f) { return explain(f, rows, blocks, block_size, table_width); });
  const MlaWeight w = mla_weight(op);
  const bool tensor = on_tensor_cores(op, w);
  const int64_t key_elements = d.heads * d.depth(), value_elements = d.heads * d.value, bytes = tensor ? 2 : 4;
  const int64_t room = key_room(capacity, sequences, (key_elements + value_elements) * bytes, cuda.gpu.memory);
  Cuda::Temporary<std::byte> k(cuda, static_cast<size_t>(sequences * room * key_elements * bytes));
  Cuda::Temporary<std::byte> v(cuda, static_cast<size_t>(sequences * room * value_elements * bytes));
  const size_t kept = room >= capacity ? 0 : static_cast<size_t>(rows * d.heads);
  Cuda::Temporary<float> sums(cuda, kept * d.value), scales(cuda, kept * 2 * simt_flash_columns(d.value).parts);
  MlaKeysParameters make{paged_cache(op, fault), w, k.data(), v.data(), 0, static_cast<int>(room)};
  FlashParameters p{.q = {address(op.q), key_elements, d.depth(), op.q.dtype == DType::bf16},
                    .k = {k.data(), key_elements, d.depth(), tensor},
                    .v = {v.data(), value_elements, d.value, tensor},
                    .packed = packed_rows(op.cu_seqlens, rows, fault),
                    .chunk = {op.seq_lens.data<int>(), capacity, 0, static_cast<int>(room), sums.data(), scales.data()},
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
    if (sequences > 0) make_keys(cuda, make, op, tensor);
    launch_flash(cuda, p);
  }
}

}  // namespace caracal::cuda

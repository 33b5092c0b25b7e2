#include "ops/attention/mla_decode.h"

#include "ops/attention/flash.cuda.h"
#include "ops/attention/mla.cuda.h"
#include "ops/attention/mla_decode.cuda.h"

namespace caracal::cuda {

namespace {

unsigned blocks(int64_t n, int64_t tile) { return unsigned(divide_up(n, tile)); }

void absorb(Cuda& cuda, const MlaAbsorbParameters& p, DType w) {
  using Tile = MlaAbsorbTile;
  cuda.launch(
      entry_of(kMlaAbsorb, w),
      {{blocks(p.latent, Tile::kColumns), unsigned(p.w.heads), blocks(p.sequences, Tile::kSequences)}, Tile::kThreads},
      p);
}

void attend_splits(Cuda& cuda, const MlaSplitParameters& p, int64_t sequences, bool tensor) {
  auto grid = [&](int64_t y) { return Grid{unsigned(p.splits), unsigned(y), unsigned(sequences)}; };
  if (tensor) {
    const int heads = mla_split_heads(p.heads, p.splits * sequences, cuda.gpu.sms, cuda.gpu.shared_bytes);
    cuda.launch(entry_of(kMlaSplitTensor, heads),
                {grid(divide_up(p.heads, heads)), MlaSplitTile::kThreads, mla_split_shared_bytes(heads)}, p);
  } else {
    const SimtFlashColumns columns = simt_flash_columns(p.cache.latent);
    cuda.launch(entry_of(kMlaSplitSimt, columns.per_lane),
                {grid(divide_up(p.heads, SimtFlashTile::kRows) * columns.parts), SimtFlashTile::kThreads}, p);
  }
}

void multiply_values(Cuda& cuda, const MlaValuesParameters& p, DType w, bool tensor) {
  const GemmTile tile = mla_values_tile(p.sequences, tensor, w);
  cuda.launch(tensor ? entry_of(kMlaValuesTensor, tile.name, w) : entry_of(kMlaValuesSimt, w),
              {{blocks(p.w.value, tile.columns), unsigned(p.w.heads), blocks(p.sequences, tile.rows)},
               tile.threads,
               tile.shared_bytes},
              p);
}

}  // namespace

void run(const MlaDecode& op, std::span<Tensor> out, Cuda& cuda) {
  const MlaSizes d = mla_sizes(op);
  const int64_t cache_blocks = op.cache.shape[0], block_size = op.cache.shape[1], table_width = op.block_table.shape[1];
  Fault* fault =
      cuda.fault([=](const Fault& f) { return explain_paged<MlaDecode>(f, cache_blocks, block_size, table_width); });
  const MlaWeight weight = mla_weight(op);
  const DType w = op.w_kv_b.dtype;
  const int64_t sequences = op.q.shape[0], splits = mla_splits(key_capacity(op));
  const bool tensor_splits =
      mla_split_on_tensor_cores(d, op.q.dtype, op.cache.dtype, vectorizable(0, {address(op.cache)}));
  const bool tensor_values = mla_values_on_tensor_cores(d, tensor_splits, w, weight.aligned);
  const size_t rows = size_t(sequences * d.heads), states = rows * size_t(splits);
  Temporary<std::byte> q(cuda, rows * size_t(d.cache_width()) * (tensor_splits ? 2 : 4));
  Temporary<float> sums(cuda, states * size_t(d.latent)), stats(cuda, states * 2);
  Temporary<std::byte> latent(cuda, rows * size_t(d.latent) * (tensor_values ? 2 : 4));
  absorb(cuda,
         {.q = address(op.q),
          .out = q.data(),
          .w = weight,
          .sequences = int(sequences),
          .latent = int(d.latent),
          .q_bf16 = op.q.dtype == DType::bf16,
          .out_bf16 = tensor_splits},
         w);
  attend_splits(cuda,
                {.cache = paged_cache(op, fault),
                 .q = q.data(),
                 .sums = sums.data(),
                 .stats = stats.data(),
                 .heads = int(d.heads),
                 .splits = int(splits),
                 .scale = score_scale(op.scale, d.qk_dim()),
                 .aligned = vectorizable(d.latent, {address(op.cache)}, 4)},
                sequences, tensor_splits);
  cuda.launch(entry_of(kMlaMerge), {{unsigned(d.heads), unsigned(sequences)}, 128},
              MlaMergeParameters{.lengths = op.seq_lens.data<int>(),
                                 .sums = sums.data(),
                                 .stats = stats.data(),
                                 .out = latent.data(),
                                 .lse = out[1].data<float>(),
                                 .heads = int(d.heads),
                                 .splits = int(splits),
                                 .latent = int(d.latent),
                                 .max_keys = key_capacity(op),
                                 .out_bf16 = tensor_values,
                                 .aligned = d.latent % 4 == 0});
  multiply_values(cuda,
                  {.x = latent.data(),
                   .out = address(out[0]),
                   .w = weight,
                   .sequences = int(sequences),
                   .latent = int(d.latent),
                   .out_bf16 = out[0].dtype == DType::bf16,
                   .out_aligned = vectorizable(d.value, {address(out[0])})},
                  w, tensor_values);
}

}  // namespace caracal::cuda

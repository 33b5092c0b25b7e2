#include "ops/attention/mla_decode.h"

#include "cuda/gemm/tiles.h"
#include "ops/attention/mla.cuda.h"
#include "ops/attention/mla_decode.cuda.h"

namespace caracal::cuda {

namespace {

unsigned tiles(int64_t n, int64_t tile) { return static_cast<unsigned>(divide_up(n, tile)); }

// Which of the four kernels run on tensor cores, and so what stands between them.
struct DecodePlan {
  int64_t sequences, splits;
  bool tensor_splits, tensor_values;

  DecodePlan(const MlaDecode& op, const MlaWeight& w)
      : sequences(op.q.shape[0]), splits(decode_splits(key_capacity(op))) {
    const MlaSizes d = mla_sizes(op);
    tensor_splits = op.q.dtype == DType::bf16 && op.cache.dtype == DType::bf16 && d.latent == 512 && d.rope == 64 &&
                    vectors(0, {address(op.cache)});
    // A tile's columns must be of one block of scales.
    const bool blocks = op.w_kv_b.dtype == DType::bf16 || (d.nope % kScaleBlock == 0 && d.value % kScaleBlock == 0);
    tensor_values = tensor_splits && op.w_kv_b.dtype != DType::f32 && blocks && w.aligned;
  }
};

void attend_splits(Cuda& cuda, const MlaDecode& op, const DecodePlan& plan, const MlaSplitParameters& p) {
  const MlaSizes d = mla_sizes(op);
  auto grid = [&](unsigned heads) { return Grid{unsigned(plan.splits), heads, unsigned(plan.sequences)}; };
  if (plan.tensor_splits) {
    const int heads =
        decode_heads(d.heads, plan.splits * plan.sequences * tiles(d.heads, 64), cuda.gpu.sms, cuda.gpu.shared_bytes);
    cuda.launch(entry_of(kMlaSplitTensor, heads),
                {grid(tiles(d.heads, heads)), MlaSplitTile::kThreads, decode_shared_bytes(heads)}, p);
  } else {
    const SimtFlashColumns columns = simt_flash_columns(d.latent);
    cuda.launch(entry_of(kMlaSplitSimt, columns.each),
                {grid(tiles(d.heads, SimtFlashTile::kRows) * unsigned(columns.parts)), SimtFlashTile::kThreads}, p);
  }
}

void make_values(Cuda& cuda, const MlaDecode& op, const DecodePlan& plan, const MlaValuesParameters& p) {
  const MlaSizes d = mla_sizes(op);
  const DType w = op.w_kv_b.dtype;
  if (!plan.tensor_values) {
    const GemmTile tile = gemm_tile(kMlaValuesSimtShape);
    cuda.launch(entry_of(kMlaValuesSimt, w),
                {{tiles(d.value, tile.columns), unsigned(d.heads), tiles(plan.sequences, tile.rows)}, tile.threads}, p);
    return;
  }
  const GemmTile tile = tensor_tile(kMlaValuesTensorShapes[plan.sequences > 16], 1, w);
  cuda.launch(entry_of(kMlaValues, tile.name, w),
              {{tiles(d.value, tile.columns), unsigned(d.heads), tiles(plan.sequences, tile.rows)},
               tile.threads,
               tile.shared_bytes},
              p);
}

}  // namespace

void run(const MlaDecode& op, std::span<Tensor> out, Cuda& cuda) {
  const MlaSizes d = mla_sizes(op);
  const int64_t blocks = op.cache.shape[0], block_size = op.cache.shape[1], table_width = op.block_table.shape[1];
  Fault* fault =
      cuda.fault([=](const Fault& f) { return explain_paged<MlaDecode>(f, blocks, block_size, table_width); });
  const MlaWeight w = mla_weight(op);
  const DecodePlan plan(op, w);
  const size_t rows = static_cast<size_t>(plan.sequences * d.heads), states = rows * static_cast<size_t>(plan.splits);
  Cuda::Temporary<std::byte> q(cuda, rows * d.width() * (plan.tensor_splits ? 2 : 4));
  Cuda::Temporary<float> sums(cuda, states * d.latent), scales(cuda, states * 2);
  Cuda::Temporary<std::byte> latent(cuda, rows * d.latent * (plan.tensor_values ? 2 : 4));
  const int b = static_cast<int>(plan.sequences), heads = static_cast<int>(d.heads),
            columns = static_cast<int>(d.latent);
  const int splits = static_cast<int>(plan.splits);
  using Absorb = MlaAbsorbTile;
  cuda.launch(
      entry_of(kMlaAbsorb, op.w_kv_b.dtype),
      {{tiles(d.latent, Absorb::kColumns), unsigned(heads), tiles(b, Absorb::kSequences)}, Absorb::kThreads},
      MlaAbsorbParameters{address(op.q), q.data(), w, b, columns, op.q.dtype == DType::bf16, plan.tensor_splits});
  attend_splits(cuda, op, plan,
                {paged_cache(op, fault), q.data(), sums.data(), scales.data(), heads, splits,
                 score_scale(op.scale, d.depth()), vectors(d.latent, {address(op.cache)}, 4)});
  cuda.launch(
      entry_of(kMlaMerge), {{unsigned(heads), unsigned(b)}, 128},
      MlaMergeParameters{op.seq_lens.data<int>(), sums.data(), scales.data(), latent.data(), out[1].data<float>(),
                         heads, splits, columns, key_capacity(op), plan.tensor_values, d.latent % 4 == 0});
  make_values(cuda, op, plan,
              {latent.data(), address(out[0]), w, b, columns, out[0].dtype == DType::bf16,
               vectors(d.value, {address(out[0])})});
}

}  // namespace caracal::cuda

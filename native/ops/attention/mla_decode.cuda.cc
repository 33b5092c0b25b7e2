#include "ops/attention/mla_decode.h"

#include "cuda/attention/mla_launch.h"

namespace caracal::cuda {

namespace {

unsigned tiles(int64_t n, int64_t tile) { return static_cast<unsigned>((n + tile - 1) / tile); }

// What stands between the four kernels.
struct DecodeMemory {
  int64_t splits;
  Cuda::Temporary<float> q, sums, scales, latent;

  DecodeMemory(Cuda& cuda, const MlaSizes& d, int64_t sequences, int64_t capacity)
      : splits(std::max<int64_t>((capacity + kSplitKeys - 1) / kSplitKeys, 1)),
        q(cuda, static_cast<size_t>(sequences * d.heads * d.width())),
        sums(cuda, static_cast<size_t>(sequences * splits * d.heads * d.latent)),
        scales(cuda, static_cast<size_t>(sequences * splits * d.heads * 2)),
        latent(cuda, static_cast<size_t>(sequences * d.heads * d.latent)) {}
};

void attend_splits(Cuda& cuda, const MlaDecode& op, const MlaSplitParameters& p) {
  const MlaSizes d = mla_sizes(op);
  const FlashTiling t = simt_flash_tiling("mla_split_simt", d.latent);
  cuda.launch({"attention", t.name},
              {static_cast<unsigned>(p.splits), tiles(d.heads, t.rows) * t.parts, static_cast<unsigned>(op.q.shape[0])},
              t.threads, t.shared_bytes, p);
}

}  // namespace

void run(const MlaDecode& op, std::span<Tensor> out, Cuda& cuda) {
  const MlaSizes d = mla_sizes(op);
  const int64_t sequences = op.q.shape[0], capacity = key_capacity(op);
  const int64_t blocks = op.cache.shape[0], block_size = op.cache.shape[1], table_width = op.block_table.shape[1];
  Fault* fault =
      cuda.fault([=](const Fault& f) { return explain_paged<MlaDecode>(f, blocks, block_size, table_width); });
  const DecodeMemory memory(cuda, d, sequences, capacity);
  const MlaWeight w = mla_weight(op);
  const int b = static_cast<int>(sequences), latent = static_cast<int>(d.latent);
  const unsigned heads = static_cast<unsigned>(d.heads);
  cuda.launch({"attention", kernel_name("mla_absorb", op.w_kv_b.dtype)}, {tiles(d.latent, 128), heads, tiles(b, 8)},
              128, 0,
              MlaAbsorbParameters{address(op.q), memory.q.data(), w, b, latent, op.q.dtype == DType::bf16, false});
  attend_splits(
      cuda, op,
      {paged_cache(op, fault), memory.q.data(), memory.sums.data(), memory.scales.data(), static_cast<int>(d.heads),
       static_cast<int>(memory.splits), score_scale(op.scale, d.depth()), vectors(d.latent, {address(op.cache)}, 4)});
  cuda.launch({"attention", "mla_merge"}, {heads, unsigned(b)}, 128, 0,
              MlaMergeParameters{op.seq_lens.data<int>(), memory.sums.data(), memory.scales.data(),
                                 memory.latent.data(), out[1].data<float>(), static_cast<int>(d.heads),
                                 static_cast<int>(memory.splits), latent, capacity, false, d.latent % 4 == 0});
  cuda.launch({"attention", kernel_name("mla_values_simt", op.w_kv_b.dtype)}, {tiles(d.value, 32), heads, tiles(b, 16)},
              128, 0,
              MlaValuesParameters{memory.latent.data(), address(out[0]), w, b, latent, out[0].dtype == DType::bf16,
                                  vectors(d.value, {address(out[0])})});
}

}  // namespace caracal::cuda

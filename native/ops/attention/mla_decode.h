#pragma once
// Multi-head latent attention for one new token per sequence (mla.h), in the absorbed form. With W_kvb,h = [Wk_h; Wv_h]
// it computes
//   q̃_h = Wk_hᵀ q_n,h      score_j = scale * (q̃_h · c_j + q_r,h · k_r,j)      o_h = Wv_h Σ_j softmax_j(score) c_j
// which reads the cache without expanding it. The query attends to all keys of its sequence, the new token's included.
//   q           [B, H, N + P] f32 | bf16, rotated
//   wKvB        [H * (N + V), R] f32 | bf16 | f8e4m3, packed or plain
//   cache       [blocks, blockSize, R + P] f32 | bf16
//   blockTable  [B, M] i32      seqLens [B] i32, keys of each sequence
//   outputs     o [B, H * V] of q's dtype, zero for an empty sequence
//               lse f32 [B, H], ln Σ_j exp(score_j), -inf for an empty sequence
#include "ops/attention/mla.h"

namespace caracal {

struct MlaDecode {
  static constexpr const char* kName = "mlaDecode";
  Tensor q, w_kv_b, cache, block_table, seq_lens;
  int64_t heads = 0, nope_dim = 0, rope_dim = 0, v_dim = 0;
  std::optional<double> scale;  // (N + P)^-1/2 when absent
  static constexpr auto kFields = std::tuple{field("q", &MlaDecode::q),
                                             packable("wKvB", &MlaDecode::w_kv_b, Layout::matrix),
                                             field("cache", &MlaDecode::cache),
                                             field("blockTable", &MlaDecode::block_table),
                                             field("seqLens", &MlaDecode::seq_lens),
                                             required("heads", &MlaDecode::heads),
                                             required("nopeDim", &MlaDecode::nope_dim),
                                             required("ropeDim", &MlaDecode::rope_dim),
                                             required("vDim", &MlaDecode::v_dim),
                                             field("scale", &MlaDecode::scale)};

  Outputs check() const {
    Checker c{kName};
    c.rank(q, "q", 3);
    check_mla(c, *this);
    c.shape(q, "q", {block_table.shape[0], -1, -1});
    return {{q.dtype, {q.shape[0], heads * v_dim}}, {DType::f32, {q.shape[0], heads}}};
  }
};

}  // namespace caracal

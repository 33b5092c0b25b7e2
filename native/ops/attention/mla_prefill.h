#pragma once
// Multi-head latent attention for many new tokens (mla.h), in the naive form: with [k_n | v]_h = W_kvb,h c_j,
//   o_i,h = Σ_j softmax_j(scale * (q_n · k_n,j + q_r · k_r,j)) v_j
// In a sequence with n queries and s keys (the queries' own keys included), query i attends to keys 0 .. s - n + i.
// Keys and values are expanded from the cache in chunks; unfinished sums, T * H * V f32, stay in memory between chunks.
// A row's bits do not depend on how the tokens before it were divided into calls.
//   q           [T, H, N + P] f32 | bf16, rotated
//   wKvB        [H * (N + V), R] f32 | bf16 | f8e4m3, packed or plain
//   cache       [blocks, blockSize, R + P] f32 | bf16
//   blockTable  [B, M] i32      cuSeqlens [B + 1] i32, over the rows of q      seqLens [B] i32, keys of each sequence
//   output      [T, H * V] of q's dtype
#include "ops/attention/cu_seqlens.h"
#include "ops/attention/mla.h"

namespace caracal {

struct MlaPrefill {
  static constexpr const char* kName = "mlaPrefill";
  Tensor q, w_kv_b, cache, block_table, cu_seqlens, seq_lens;
  int64_t heads = 0, nope_dim = 0, rope_dim = 0, v_dim = 0;
  std::optional<double> scale;  // (N + P)^-1/2 when absent
  static constexpr auto kFields = std::tuple{field("q", &MlaPrefill::q),
                                             packable("wKvB", &MlaPrefill::w_kv_b, Layout::matrix),
                                             field("cache", &MlaPrefill::cache),
                                             field("blockTable", &MlaPrefill::block_table),
                                             field("cuSeqlens", &MlaPrefill::cu_seqlens),
                                             field("seqLens", &MlaPrefill::seq_lens),
                                             required("heads", &MlaPrefill::heads),
                                             required("nopeDim", &MlaPrefill::nope_dim),
                                             required("ropeDim", &MlaPrefill::rope_dim),
                                             required("vDim", &MlaPrefill::v_dim),
                                             field("scale", &MlaPrefill::scale)};

  Outputs check() const {
    Checker c{kName};
    c.rank(q, "q", 3);
    check_mla(c, *this);
    check_cu_seqlens_tensor(c, cu_seqlens);
    c.shape(cu_seqlens, "cuSeqlens", {block_table.shape[0] + 1});
    return {{q.dtype, {q.shape[0], heads * v_dim}}};
  }
};

inline Error queries_error(const char* op, int64_t s, int64_t length, int64_t queries) {
  return index_error(op, "seqLens", s, length,
                     "seqLens[" + std::to_string(s) + "] counts the " + std::to_string(queries) +
                         " new tokens too, got " + std::to_string(length));
}

}  // namespace caracal

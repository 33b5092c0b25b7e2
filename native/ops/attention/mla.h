#pragma once
// Shared by the operations of multi-head latent attention (DeepSeek-V2, section 2.1). For each token the cache holds
// the compressed vector c (R values, normalised and scaled) and the rotated key k_r (P values) that all heads share.
// W_kvb [H * (N + V), R] expands c to each head's key without position [N] and value [V]. The cache is paged: row r is
// at offset r % blockSize of block r / blockSize, and the block table lists the blocks of each sequence in order. Its
// entries past the blocks that a sequence needs are never read.
#include "ops/attention/head_dim.h"
#include "ops/linear/linear.h"

namespace caracal {

struct MlaSizes {
  int64_t heads, nope, rope, value, latent;
  int64_t qk_dim() const { return nope + rope; }         // elements of a query or key
  int64_t cache_width() const { return latent + rope; }  // elements of a cache row
  int64_t head_rows() const { return nope + value; }     // rows of W_kvb for one head
};

template <class Op>
MlaSizes mla_sizes(const Op& op) {
  return {op.heads, op.nope_dim, op.rope_dim, op.v_dim, op.w_kv_b.shape[1]};
}

inline void check_cache(const Checker& c, const Tensor& cache, int64_t width) {
  c.rank(cache, "cache", 3);
  c.shape(cache, "cache", {-1, -1, width});
  c.activations(cache, "cache");
  if (cache.shape[0] * cache.shape[1] > INT32_MAX)
    c.bad(code::kShapeMismatch, "cache", "must have fewer than 2^31 rows, got " + cache.shape.str());
}

// Checks q, wKvB, cache, blockTable and seqLens.
template <class Op>
void check_mla(const Checker& c, const Op& op) {
  c.range(op.heads, "heads", 1, 65536);
  c.range(op.nope_dim, "nopeDim", 1, 65536);
  c.range(op.rope_dim, "ropeDim", 1, 65536);
  c.range(op.v_dim, "vDim", 1, 65536);
  c.rank(op.w_kv_b, "wKvB", 2);
  const MlaSizes d = mla_sizes(op);
  check_weight(c, op.w_kv_b, "wKvB", {d.heads * d.head_rows(), -1}, {DType::f32, DType::bf16, DType::f8e4m3});
  if (d.latent < 1) c.bad(code::kShapeMismatch, "wKvB", "must have at least one column, got " + op.w_kv_b.shape.str());
  if (d.qk_dim() % 4 != 0 || d.cache_width() % 4 != 0)
    c.bad(code::kShapeMismatch, "ropeDim", "plus nopeDim, and plus the latent width, must be multiples of 4");
  c.shape(op.q, "q", {-1, d.heads, d.qk_dim()});
  c.activations(op.q, "q");
  check_cache(c, op.cache, d.cache_width());
  c.rank(op.block_table, "blockTable", 2);
  c.dtype(op.block_table, "blockTable", {DType::i32});
  c.shape(op.seq_lens, "seqLens", {op.block_table.shape[0]});
  c.dtype(op.seq_lens, "seqLens", {DType::i32});
  if (op.scale) c.positive(*op.scale, "scale");
}

// seqLens[s] is negative, or larger than `capacity`: the block table's width times the block size.
inline Error length_error(const char* op, int64_t s, int64_t length, int64_t capacity) {
  return index_error(op, "seqLens", s, length,
                     "seqLens[" + std::to_string(s) + "] must be in [0, " + std::to_string(capacity) +
                         "], which the block table can hold, got " + std::to_string(length));
}
// `position` counts the elements of a table of `width` columns.
inline Error block_error(const char* op, int64_t position, int64_t width, int64_t block, int64_t blocks) {
  return index_error(op, "blockTable", position, block,
                     "blockTable[" + std::to_string(position / width) + ", " + std::to_string(position % width) +
                         "] must be one of the cache's " + std::to_string(blocks) + " blocks, got " +
                         std::to_string(block));
}

// The sequences of a paged cache. The constructor checks lengths and blocks, before any row of the cache is read.
class PagedSequences {
 public:
  PagedSequences(const char* op, const Tensor& cache, const Tensor& block_table, const Tensor& seq_lens)
      : block_size_(cache.shape[1]),
        table_width_(block_table.shape[1]),
        table_(block_table.data<int32_t>()),
        lengths_(seq_lens.data<int32_t>()) {
    const int64_t blocks = cache.shape[0], capacity = table_width_ * block_size_;
    for (int64_t s = 0; s < seq_lens.shape[0]; s++) {
      if (lengths_[s] < 0 || lengths_[s] > capacity) throw length_error(op, s, lengths_[s], capacity);
      for (int64_t i = 0; i * block_size_ < lengths_[s]; i++) {
        const int64_t position = s * table_width_ + i;
        if (table_[position] < 0 || table_[position] >= blocks)
          throw block_error(op, position, table_width_, table_[position], blocks);
      }
    }
  }

  int64_t length(int64_t s) const { return lengths_[s]; }
  // The cache row of token i of sequence s.
  int64_t slot(int64_t s, int64_t i) const {
    return table_[s * table_width_ + i / block_size_] * block_size_ + i % block_size_;
  }

 private:
  int64_t block_size_, table_width_;
  const int32_t* table_;
  const int32_t* lengths_;
};

}  // namespace caracal

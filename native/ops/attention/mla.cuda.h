#pragma once
// What mlaPrefill and mlaDecode tell their kernels.
#include "cuda/packed_weight.h"
#include "ops/attention/flash.cuda.h"
#include "ops/attention/mla.h"
#include "ops/attention/mla.kernels.h"

namespace caracal::cuda {

template <class Op>
Error explain_paged(const Fault& f, int64_t blocks, int64_t block_size, int64_t table_width) {
  if (f.argument == kLength) return length_error(Op::kName, f.position, f.value, table_width * block_size);
  return block_error(Op::kName, f.position / table_width, f.position % table_width, f.value, blocks);
}

template <class Op>
PagedCache paged_cache(const Op& op, Fault* fault) {
  const MlaSizes d = mla_sizes(op);
  return {address(op.cache),
          op.cache.dtype == DType::bf16,
          op.block_table.template data<int>(),
          op.seq_lens.template data<int>(),
          static_cast<int>(op.cache.shape[0]),
          static_cast<int>(op.cache.shape[1]),
          static_cast<int>(op.block_table.shape[1]),
          static_cast<int>(d.latent),
          static_cast<int>(d.width()),
          fault};
}

template <class Op>
MlaWeight mla_weight(const Op& op) {
  const MlaSizes d = mla_sizes(op);
  const WeightMatrix w = weight_matrix(op.w_kv_b);
  const int64_t elements = op.w_kv_b.dtype == DType::f8e4m3 ? 16 : 8;
  return {w.data,
          w.scales,
          static_cast<int>(d.heads),
          static_cast<int>(d.nope),
          static_cast<int>(d.rope),
          static_cast<int>(d.value),
          vectors(d.latent, {w.data, address(op.cache)}, elements) && d.width() % 8 == 0};
}

// Keys that a sequence can have.
template <class Op>
int64_t key_capacity(const Op& op) {
  return op.block_table.shape[1] * op.cache.shape[1];
}

}  // namespace caracal::cuda

#pragma once
// Kernel parameters and fault messages that mlaPrefill and mlaDecode share.
#include "cuda/implement.h"
#include "cuda/packed_weight.h"
#include "ops/attention/faults.kernels.h"
#include "ops/attention/mla.h"
#include "ops/attention/mla.kernels.h"

namespace caracal::cuda {

// The error of a fault in seqLens or blockTable, as paged.cuh raises it.
template <class Op>
Error explain_paged(const Fault& f, int64_t blocks, int64_t block_size, int64_t table_width) {
  if (f.argument == kBadLength) return length_error(Op::kName, f.position, f.value, table_width * block_size);
  return block_error(Op::kName, f.position, table_width, f.value, blocks);
}

template <class Op>
PagedCache paged_cache(const Op& op, Fault* fault) {
  const MlaSizes d = mla_sizes(op);
  return {.rows = address(op.cache),
          .bf16 = op.cache.dtype == DType::bf16,
          .table = op.block_table.template data<int>(),
          .lengths = op.seq_lens.template data<int>(),
          .blocks = int(op.cache.shape[0]),
          .block_size = int(op.cache.shape[1]),
          .table_width = int(op.block_table.shape[1]),
          .latent = int(d.latent),
          .width = int(d.cache_width()),
          .fault = fault};
}

template <class Op>
MlaWeight mla_weight(const Op& op) {
  const MlaSizes d = mla_sizes(op);
  const WeightMatrix w = weight_matrix(op.w_kv_b);
  const int64_t vector = op.w_kv_b.dtype == DType::f8e4m3 ? 16 : 8;  // elements in 16 bytes of f8e4m3 or of bf16
  return {.data = w.data,
          .scales = static_cast<const float*>(w.scales),
          .heads = int(d.heads),
          .nope = int(d.nope),
          .rope = int(d.rope),
          .value = int(d.value),
          .aligned = vectorizable(d.latent, {w.data, address(op.cache)}, vector) && d.cache_width() % 8 == 0};
}

// The most keys that the block table lets a sequence have.
template <class Op>
int64_t key_capacity(const Op& op) {
  return op.block_table.shape[1] * op.cache.shape[1];
}

}  // namespace caracal::cuda

#include "ops/attention/vit_attention.h"

#include "ops/attention/flash.cuda.h"
#include "ops/attention/rotation.cuda.h"
#include "ops/attention/vit_attention.kernels.h"

namespace caracal::cuda {

namespace {

// Writes rotated and normalised q and k, each [rows, width] of `dtype`.
void prepare(const VitAttention& op, Cuda& cuda, DType dtype, std::byte* q, std::byte* k) {
  const int64_t rows = op.qkv.shape[0], width = op.qkv.shape[1] / 3, dim = width / op.heads;
  const RowBlocks blocks = row_blocks(dtype, width, {address(op.qkv), address(op.q_norm), address(op.k_norm), q, k});
  const RowBlocks row = row_blocks(op.qkv.dtype, width, {});
  const bool whole_vectors = vector_elements(dtype, dim / 2, {}) > 1;  // in each half of a head
  cuda.launch(entry_of(kVitPrologue, op.qkv.dtype, dtype), {{unsigned(rows), 2}, blocks.threads, row.shared_bytes},
              VitPrologueParameters{.qkv = address(op.qkv),
                                    .out = {q, k},
                                    .weight = {address(op.q_norm), address(op.k_norm)},
                                    .weight_bf16 = {op.q_norm.dtype == DType::bf16, op.k_norm.dtype == DType::bf16},
                                    .positions = op.positions.data<int>(),
                                    .width = int(width),
                                    .dim = int(dim),
                                    .eps = float(op.eps),
                                    .aligned = blocks.aligned && whole_vectors,
                                    .in_shared = row.shared_bytes > 0,
                                    .frequencies = rotary_frequencies(op.theta, dim / 2)});
}

}  // namespace

void run(const VitAttention& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.qkv.shape[0], width = op.qkv.shape[1] / 3, dim = width / op.heads;
  const bool bf16 = op.qkv.dtype == DType::bf16;
  std::byte* v = op.qkv.data<std::byte>() + 2 * size_t(width) * dtype_bytes(op.qkv.dtype);
  Fault* fault = cuda.fault([rows](const Fault& f) { return explain_cu_seqlens(VitAttention::kName, f, rows); });
  auto attention = [&](const void* q, const void* k, bool prepared_bf16) {
    return FlashParameters{.q = {q, width, dim, prepared_bf16},
                           .k = {k, width, dim, prepared_bf16},
                           .v = {v, 3 * width, dim, bf16},
                           .packed = packed_rows(op.cu_seqlens, rows, fault),
                           .chunk = {},
                           .out = address(out[0]),
                           .heads = int(op.heads),
                           .qk_dim = int(dim),
                           .v_dim = int(dim),
                           .scale = score_scale({}, dim),
                           .causal = false,
                           .out_bf16 = bf16,
                           .aligned = false};
  };
  // q and k are rounded to bf16 only if the tensor cores take them.
  const bool rounded = tensor_flash_shape(attention(nullptr, nullptr, true)) != nullptr;
  const DType prepared = rounded ? DType::bf16 : DType::f32;
  const size_t bytes = size_t(rows * width) * dtype_bytes(prepared);
  Temporary<std::byte> q(cuda, bytes), k(cuda, bytes);
  prepare(op, cuda, prepared, q.data(), k.data());
  launch_flash(cuda, attention(q.data(), k.data(), rounded));
}

}  // namespace caracal::cuda

#include "ops/attention/attention.h"

#include "ops/attention/flash.cuda.h"

namespace caracal::cuda {

void run(const Attention& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.q.shape[0], heads = op.q.shape[1], dim = op.q.shape[2];
  const bool bf16 = op.q.dtype == DType::bf16;
  auto operand = [&](const Tensor& t) { return HeadRows{address(t), heads * dim, dim, bf16}; };
  Fault* fault = cuda.fault([rows](const Fault& f) { return explain_cu_seqlens(Attention::kName, f, rows); });
  launch_flash(cuda, {.q = operand(op.q),
                      .k = operand(op.k),
                      .v = operand(op.v),
                      .packed = packed_rows(op.cu_seqlens, rows, fault),
                      .chunk = {},
                      .out = address(out[0]),
                      .heads = int(heads),
                      .qk_dim = int(dim),
                      .v_dim = int(dim),
                      .scale = score_scale(op.scale, dim),
                      .causal = op.causal,
                      .out_bf16 = bf16,
                      .aligned = false});
}

}  // namespace caracal::cuda

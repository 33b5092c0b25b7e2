#include "ops/moe/grouped_gemm.h"

#include "cuda/gemm/launch.h"
#include "ops/moe/group_classes.cuda.h"

namespace caracal::cuda {
namespace {

GroupedOperands grouped_operands(const Tensor& x, std::initializer_list<const Tensor*> weights, const Tensor& offsets,
                                 const std::optional<Tensor>& gather, int64_t rows) {
  const Tensor& first = **weights.begin();
  return {.gemm = gemm_operands(x, weights, rows),
          .offsets = offsets.data<int>(),
          .gather = static_cast<const int*>(address(gather)),
          .x_rows = x.shape[0],
          .expert_scale_bytes = int64_t(matrix_scale_bytes(first.shape[1], first.shape[2], first.dtype, first.scales)),
          .experts = int(first.shape[0]),
          .min_rows = 0,  // set for each launch
          .max_rows = 0};
}

Fault* check_rows(Cuda& cuda, const char* op, int64_t rows, int64_t x_rows) {
  return cuda.fault([op, rows, x_rows](const Fault& f) {
    return f.argument == kOffsetsFault ? offsets_error(op, f.position, f.value, rows)
                                       : gather_error(op, f.position, f.value, x_rows);
  });
}

template <class Epilogue>
void launch_groups(Cuda& cuda, const Kernel<GroupedOperands, Epilogue, Fault*>& kernel, GroupedOperands p, DType x,
                   DType w, int groups, const Epilogue& epilogue, const char* op) {
  Fault* fault = check_rows(cuda, op, p.gemm.m, p.x_rows);
  if (p.gemm.n == 0) return;
  for (const GroupClass& c : group_classes(x, w, groups, p.gemm.m)) {
    p.min_rows = c.min_rows;
    p.max_rows = c.max_rows;
    const unsigned blocks = group_blocks(c, p.gemm.m, p.gemm.n, p.experts, cuda.gpu.sms, cuda.gpu.shared_bytes);
    cuda.launch(entry_of(kernel, c.tile.name, x, w), {{blocks}, c.tile.threads, c.tile.shared_bytes}, p, epilogue,
                fault);
  }
}

}  // namespace

void run(const GroupedGemm& op, std::span<Tensor> out, Cuda& cuda) {
  const GroupedOperands p = grouped_operands(op.x, {&op.w}, op.offsets, op.gather, out[0].shape[0]);
  const LinearEpilogue epilogue{.out = address(out[0]),
                                .residual = nullptr,
                                .bias = {},
                                .gain = {},
                                .activation = Activation::none,
                                .bf16 = out[0].dtype == DType::bf16,
                                .aligned = vectorizable(p.gemm.n, {address(out[0])})};
  launch_groups(cuda, kGroupedGemm, p, op.x.dtype, op.w.dtype, 1, epilogue, GroupedGemm::kName);
}

void run(const GroupedSwiglu& op, std::span<Tensor> out, Cuda& cuda) {
  const GroupedOperands p = grouped_operands(op.x, {&op.gate, &op.up}, op.offsets, op.gather, out[0].shape[0]);
  const SwigluEpilogue epilogue{.out = address(out[0]),
                                .gate_bias = {},
                                .up_bias = {},
                                .bf16 = out[0].dtype == DType::bf16,
                                .aligned = vectorizable(p.gemm.n, {address(out[0])})};
  launch_groups(cuda, kGroupedSwiglu, p, op.x.dtype, op.gate.dtype, 2, epilogue, GroupedSwiglu::kName);
}

}  // namespace caracal::cuda

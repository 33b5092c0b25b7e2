#include "ops/moe/grouped_gemm.h"

#include "cuda/gemm/launch.h"
#include "ops/moe/group_classes.cuda.h"
#include "ops/moe/grouped_gemm.kernels.h"

namespace caracal::cuda {
namespace {

GroupedOperands grouped_operands(const Tensor& x, std::initializer_list<const Tensor*> weights, const Tensor& offsets,
                                 const std::optional<Tensor>& gather, int64_t rows) {
  const Tensor& first = **weights.begin();
  const int64_t n = first.shape[1], k = first.shape[2];
  const bool f8e4m3 = first.dtype == DType::f8e4m3;
  GroupedOperands p{.gemm = {address(x), {}, {}, rows, n, k, k % (f8e4m3 ? 16 : 8) == 0 && vectors(0, {address(x)})},
                    .offsets = offsets.data<int>(),
                    .gather = static_cast<const int*>(address(gather)),
                    .x_rows = x.shape[0],
                    .scales = f8e4m3 ? scale_count(n, k) : 0,
                    .experts = int(first.shape[0]),
                    .least = 0,
                    .most = 0};
  int g = 0;
  for (const Tensor* w : weights) {
    const WeightMatrix matrix = weight_matrix(*w);
    p.gemm.w[g] = matrix.data;
    p.gemm.scales[g++] = matrix.scales;
    p.gemm.aligned = p.gemm.aligned && vectors(0, {matrix.data});
  }
  return p;
}

// As the CPU words it; see row_tiles and find_rows for which check is which.
Fault* check_rows(Cuda& cuda, const char* op, int64_t rows, int64_t x_rows) {
  return cuda.fault([op, rows, x_rows](const Fault& f) {
    if (f.argument == 0)
      return Error(code::kIndexOutOfRange, std::string(op) + ": offsets must rise from 0 to at most " +
                                               std::to_string(rows) + ", got " + std::to_string(f.value) + " at " +
                                               std::to_string(f.position));
    return Error(code::kIndexOutOfRange, std::string(op) + ": gather[" + std::to_string(f.position) + "] is " +
                                             std::to_string(f.value) + ", but x has " + std::to_string(x_rows) +
                                             " rows");
  });
}

template <class Epilogue>
void launch(Cuda& cuda, const Kernel<GroupedOperands, Epilogue, Fault*>& kernel, GroupedOperands p, DType x, DType w,
            int groups, const Epilogue& epilogue, Fault* fault) {
  if (p.gemm.n == 0) return;
  const bool tensor = x == DType::bf16 && w != DType::f32;
  for (const GroupClass& c : group_classes(tensor, groups, w, p.gemm.m)) {
    p.least = c.least;
    p.most = c.most;
    const unsigned blocks = group_blocks(c, groups, p.gemm.m, p.gemm.n, p.experts, cuda.gpu.sms, cuda.gpu.shared_bytes);
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
                                .aligned = vectors(p.gemm.n, {address(out[0])})};
  launch(cuda, kGroupedGemm, p, op.x.dtype, op.w.dtype, 1, epilogue,
         check_rows(cuda, GroupedGemm::kName, p.gemm.m, p.x_rows));
}

void run(const GroupedSwiglu& op, std::span<Tensor> out, Cuda& cuda) {
  const GroupedOperands p = grouped_operands(op.x, {&op.gate, &op.up}, op.offsets, op.gather, out[0].shape[0]);
  const SwigluEpilogue epilogue{.out = address(out[0]),
                                .gate_bias = {},
                                .up_bias = {},
                                .bf16 = out[0].dtype == DType::bf16,
                                .aligned = vectors(p.gemm.n, {address(out[0])})};
  launch(cuda, kGroupedSwiglu, p, op.x.dtype, op.gate.dtype, 2, epilogue,
         check_rows(cuda, GroupedSwiglu::kName, p.gemm.m, p.x_rows));
}

}  // namespace caracal::cuda

#include "ops/linear/linear.h"

#include "cuda/gemm/launch.h"
#include "ops/linear/linear.kernels.h"

namespace caracal::cuda {

void run(const Linear& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.w.shape[0];
  const GemmOperands p = gemm_operands(op.x, {&op.w}, out[0].shape.rows());
  const LinearEpilogue epilogue{
      .out = address(out[0]),
      .residual = address(op.residual),
      .bias = column_vector(op.bias),
      .gain = column_vector(op.layer_scale),
      .activation = op.activation,
      .bf16 = out[0].dtype == DType::bf16,
      .aligned = vectorizable(n, {address(out[0]), address(op.residual), address(op.bias), address(op.layer_scale)})};
  launch_gemm(cuda, kLinear, p, op.x.dtype, op.w.dtype, 1, epilogue);
}

}  // namespace caracal::cuda

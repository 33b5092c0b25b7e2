#include "ops/linear/swiglu.h"

#include "cuda/gemm/launch.h"
#include "ops/linear/swiglu.kernels.h"

namespace caracal::cuda {

void run(const Swiglu& op, std::span<Tensor> out, Cuda& cuda) {
  const GemmOperands p = gemm_operands(op.x, {&op.gate, &op.up}, out[0].shape.rows());
  const SwigluEpilogue epilogue{
      .out = address(out[0]),
      .gate_bias = column_vector(op.gate_bias),
      .up_bias = column_vector(op.up_bias),
      .bf16 = out[0].dtype == DType::bf16,
      .aligned = vectorizable(op.gate.shape[0], {address(out[0]), address(op.gate_bias), address(op.up_bias)})};
  launch_gemm(cuda, kSwiglu, p, op.x.dtype, op.gate.dtype, 2, epilogue);
}

}  // namespace caracal::cuda

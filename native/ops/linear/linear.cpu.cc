#include "ops/linear/linear.h"

#include "cpu/weights.h"

namespace caracal::CARACAL_ISA {

void run(const Linear& op, std::span<Tensor> out, Cpu& cpu) {
  const WeightPanels w(cpu, op.w);
  const int64_t n = op.w.shape[0];
  by_activation_type(op.x.dtype, [&](auto in_type) {
    by_activation_type(out[0].dtype, [&](auto out_type) {
      using In = typename decltype(in_type)::type;
      using Out = typename decltype(out_type)::type;
      const LinearEpilogue<Out> epilogue{.out = out[0].data<Out>(),
                                         .stride = n,
                                         .bias = column_vector(op.bias),
                                         .activation = op.activation,
                                         .gain = column_vector(op.layer_scale),
                                         .residual = op.residual ? op.residual->data<Out>() : nullptr,
                                         .residual_stride = n};
      run_gemm(cpu, with_int8_rows(make_gemm(out[0].shape.rows(), rows_of<In>(op.x), w, epilogue), op.int8_rows));
    });
  });
}

}  // namespace caracal::CARACAL_ISA

#include "ops/linear/swiglu.h"

#include "cpu/weights.h"

namespace caracal::CARACAL_ISA {

void run(const Swiglu& op, std::span<Tensor> out, Cpu& cpu) {
  const WeightPanels gate(cpu, op.gate), up(cpu, op.up);
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const SwiGluEpilogue<T> epilogue{.out = out[0].data<T>(),
                                     .stride = op.gate.shape[0],
                                     .gate_bias = column_vector(op.gate_bias),
                                     .up_bias = column_vector(op.up_bias)};
    run_gemm(cpu, with_int8_rows(make_gemm(out[0].shape.rows(), rows_of<T>(op.x), gate, up, epilogue), op.int8_rows));
  });
}

}  // namespace caracal::CARACAL_ISA

#include "ops/elementwise/activation.h"

#include "cpu/gemm_epilogue.h"
#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {

void run(const ActivationOp& op, std::span<Tensor> out, Cpu& cpu) {
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_blocks(cpu, op.x.shape.elements(), [&](int64_t first, int64_t n) {
      const T* x = op.x.data<T>() + first;
      T* y = out[0].data<T>() + first;
      for_columns(n, [&](int64_t i, int count) {
        F32x16 v = load(x + i, count);
        activate(op.kind, v);
        store(y + i, v, count);
      });
    });
  });
}

}  // namespace caracal::CARACAL_ISA

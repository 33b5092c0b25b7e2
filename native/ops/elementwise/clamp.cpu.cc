#include "ops/elementwise/clamp.h"

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {

void run(const Clamp& op, std::span<Tensor> out, Cpu& cpu) {
  const F32x16 low = set1(static_cast<float>(op.low)), high = set1(static_cast<float>(op.high));
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_blocks(cpu, op.x.shape.elements(), [&](int64_t first, int64_t n) {
      const T* x = op.x.data<T>() + first;
      T* y = out[0].data<T>() + first;
      // In this order of arguments, min and max keep a NaN of x.
      for_columns(n, [&](int64_t i, int count) { store(y + i, min(high, max(low, load(x + i, count))), count); });
    });
  });
}

}  // namespace caracal::CARACAL_ISA

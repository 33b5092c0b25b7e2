#include "ops/elementwise/magnitude.h"

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {

void run(const Magnitude& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = out[0].shape[-1];
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.x.shape.rows(), n, [&](int64_t row) {
      const T* real = op.x.data<T>() + row * 2 * n;
      const T* imaginary = real + n;
      T* y = out[0].data<T>() + row * n;
      for_columns(n, [&](int64_t i, int count) {
        const F32x16 re = load(real + i, count), im = load(imaginary + i, count);
        store(y + i, sqrt(fma(im, im, re * re)), count);
      });
    });
  });
}

}  // namespace caracal::CARACAL_ISA

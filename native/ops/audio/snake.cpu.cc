#include "ops/audio/snake.h"

#include "cpu/implement.h"
#include "ops/audio/snake.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const Snake& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = op.x.shape[-1];
  Temporary<float> alpha(cpu, static_cast<size_t>(n)), inverse(cpu, static_cast<size_t>(n));
  by_activation_type(op.alpha.dtype, [&](auto type) {
    const auto* a = op.alpha.data<typename decltype(type)::type>();
    for_columns(n, [&](int64_t i, int count) {
      const F32x16 v = load(a + i, count);
      store(alpha.data() + i, v, count);
      store(inverse.data() + i, snake_inverse(v), count);
    });
  });
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.x.shape.rows(), n * 4, [&](int64_t row) {
      const T* x = op.x.data<T>() + row * n;
      T* y = out[0].data<T>() + row * n;
      int64_t i = 0;
      for (; i + 16 <= n; i += 16)
        store16(y + i, snake(load16(x + i), load16(alpha.data() + i), load16(inverse.data() + i)));
      if (i < n) {
        const int left = static_cast<int>(n - i);
        store_partial(y + i,
                      snake(load_partial(x + i, left), load_partial(alpha.data() + i, left),
                            load_partial(inverse.data() + i, left)),
                      left);
      }
    });
  });
}

}  // namespace caracal::CARACAL_ISA

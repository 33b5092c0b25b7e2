#include "ops/image/interpolate_tokens.h"

#include "cpu/implement.h"
#include "ops/image/between.h"

namespace caracal::CARACAL_ISA {
void run(const InterpolateTokens& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = op.x.shape[1];
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, out[0].shape[0], n, [&](int64_t i) {
      const auto [top, bottom, down] = between(i / op.to_width, op.height, op.to_height);
      const auto [left, right, across] = between(i % op.to_width, op.width, op.to_width);
      auto row = [&](int64_t r, int64_t c) { return op.x.data<T>() + (r * op.width + c) * n; };
      const T *a = row(top, left), *b = row(top, right), *c = row(bottom, left), *d = row(bottom, right);
      const F32x16 x = set1(across), y = set1(down), x_rest = set1(1 - across), y_rest = set1(1 - down);
      T* to = out[0].data<T>() + i * n;
      for_columns(n, [&](int64_t j, int count) {
        const F32x16 upper = load(a + j, count) * x_rest + load(b + j, count) * x;
        const F32x16 lower = load(c + j, count) * x_rest + load(d + j, count) * x;
        store(to + j, upper * y_rest + lower * y, count);
      });
    });
  });
}

}  // namespace caracal::CARACAL_ISA

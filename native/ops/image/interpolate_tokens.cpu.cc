#include "ops/image/interpolate_tokens.h"

#include "cpu/implement.h"
#include "ops/image/bilinear.h"

namespace caracal::CARACAL_ISA {

void run(const InterpolateTokens& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = op.x.shape[1];
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, out[0].shape[0], n, [&](int64_t i) {
      const auto [top, bottom, y] = bilinear_tap(i / op.to_width, op.height, op.to_height);
      const auto [left, right, x] = bilinear_tap(i % op.to_width, op.width, op.to_width);
      auto row = [&](int64_t r, int64_t c) { return op.x.data<T>() + (r * op.width + c) * n; };
      const T *a = row(top, left), *b = row(top, right), *c = row(bottom, left), *d = row(bottom, right);
      const F32x16 to_right = set1(x), to_left = set1(1 - x), to_bottom = set1(y), to_top = set1(1 - y);
      T* to = out[0].data<T>() + i * n;
      for_columns(n, [&](int64_t j, int count) {
        const F32x16 upper = load(a + j, count) * to_left + load(b + j, count) * to_right;
        const F32x16 lower = load(c + j, count) * to_left + load(d + j, count) * to_right;
        store(to + j, upper * to_top + lower * to_bottom, count);
      });
    });
  });
}

}  // namespace caracal::CARACAL_ISA

#include "ops/norm/rms_norm.h"

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {
namespace {

// `h` may be `x` itself; with a residual it receives x + residual.
template <class T, class W>
void normalise_row(const T* x, const T* residual, const W* weight, T* h, T* y, int64_t n, float eps) {
  F32x16 sum = zero();
  int64_t i = 0;
  auto square = [&](F32x16 v) { sum = fma(v, v, sum); };
  if (residual) {
    for (; i + 16 <= n; i += 16) {
      store16(h + i, load16(x + i) + load16(residual + i));
      square(load16(h + i));
    }
    if (i < n) {
      store_partial(h + i, load_partial(x + i, n - i) + load_partial(residual + i, n - i), n - i);
      square(load_partial(h + i, n - i));
    }
    x = h;
  } else {
    for (; i + 16 <= n; i += 16) square(load16(x + i));
    if (i < n) square(load_partial(x + i, n - i));
  }
  const F32x16 scale = set1(1.0f / __builtin_sqrtf(hsum(sum) / static_cast<float>(n) + eps));
  // Rounded to the activation type before the weight, as the published implementation does.
  auto rounded = [](F32x16 v) {
    if constexpr (sizeof(T) == sizeof(float)) return v;
    T narrow[16];
    store16(narrow, v);
    return load16(narrow);
  };
  for (i = 0; i + 16 <= n; i += 16) store16(y + i, rounded(load16(x + i) * scale) * load16(weight + i));
  if (i < n) {
    const int left = static_cast<int>(n - i);
    store_partial(y + i, rounded(load_partial(x + i, left) * scale) * load_partial(weight + i, left), left);
  }
}

}  // namespace

void run(const RmsNorm& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = op.x.shape[-1];
  by_activation_type(op.x.dtype, [&](auto x_type) {
    by_activation_type(op.weight.dtype, [&](auto w_type) {
      using T = typename decltype(x_type)::type;
      using W = typename decltype(w_type)::type;
      for_rows(cpu, op.x.shape.rows(), n, [&](int64_t row) {
        const T* residual = op.residual ? op.residual->data<T>() + row * n : nullptr;
        T* h = op.residual ? out[1].data<T>() + row * n : nullptr;
        normalise_row(op.x.data<T>() + row * n, residual, op.weight.data<W>(), h, out[0].data<T>() + row * n, n,
                      static_cast<float>(op.eps));
      });
    });
  });
}

}  // namespace caracal::CARACAL_ISA

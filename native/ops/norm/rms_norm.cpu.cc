#include "ops/norm/rms_norm.h"

#include "cpu/implement.h"
#include "cpu/reduce.h"

namespace caracal::CARACAL_ISA {
namespace {

// If there is a residual, h receives x + residual.
template <class T, class W>
void normalise_row(const T* x, const T* residual, const W* weight, T* h, T* y, int64_t n, float eps) {
  if (residual) {
    for_columns(n, [&](int64_t i, int count) { store(h + i, load(x + i, count) + load(residual + i, count), count); });
    x = h;
  }
  F32x16 sum = zero();
  for_columns(n, [&](int64_t i, int count) {
    const F32x16 v = load(x + i, count);
    sum = fma(v, v, sum);
  });
  const F32x16 scale = set1(1.0f / __builtin_sqrtf(hsum(sum) / static_cast<float>(n) + eps));
  for_columns(n, [&](int64_t i, int count) {
    F32x16 v = load(x + i, count) * scale;
    if constexpr (sizeof(T) != sizeof(float)) {  // rounded before the multiplication, as published
      T narrow[16];
      store16(narrow, v);
      v = load16(narrow);
    }
    store(y + i, v * load(weight + i, count), count);
  });
}

// `residual` may be null; otherwise out[1] receives the sums.
void normalise(const RmsNorm& op, const Tensor* residual_rows, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = op.x.shape[-1];
  by_activation_type(op.x.dtype, [&](auto x_type) {
    by_activation_type(op.weight.dtype, [&](auto w_type) {
      using T = typename decltype(x_type)::type;
      using W = typename decltype(w_type)::type;
      for_rows(cpu, op.x.shape.rows(), n, [&](int64_t row) {
        const T* residual = residual_rows ? residual_rows->data<T>() + row * n : nullptr;
        T* h = residual_rows ? out[1].data<T>() + row * n : nullptr;
        normalise_row(op.x.data<T>() + row * n, residual, op.weight.data<W>(), h, out[0].data<T>() + row * n, n,
                      static_cast<float>(op.eps));
      });
    });
  });
}

}  // namespace

void run(const RmsNorm& op, std::span<Tensor> out, Cpu& cpu) { normalise(op, nullptr, out, cpu); }
void run(const AddRmsNorm& op, std::span<Tensor> out, Cpu& cpu) { normalise(op.norm(), &op.residual, out, cpu); }

}  // namespace caracal::CARACAL_ISA

#include "ops/moe/combine.h"

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {
namespace {

template <class T>
void combine_row(const Combine& op, int64_t t, T* out) {
  const int64_t d = op.x.shape[1], k = op.weights.shape[1], rows = op.y.shape[0];
  const T* x = op.x.data<T>() + t * d;
  const T* residual = op.residual ? op.residual->data<T>() + t * d : nullptr;
  const float* weights = op.weights.data<float>() + t * k;
  const int32_t* slots = op.slot_of.data<int32_t>() + t * k;
  const float zero_weight = op.zero_weight.data<float>()[t];
  for (int64_t i = 0; i < k; i++)
    if (slots[i] < -1 || slots[i] >= rows) throw Combine::slot_error(t * k + i, k, slots[i], rows);
  for_columns(d, [&](int64_t c, int count) {
    F32x16 sum = residual ? load(residual + c, count) : zero();
    // Without zero experts x is not read: zero times an infinite x would be NaN.
    if (zero_weight != 0) sum = fma(set1(zero_weight), load(x + c, count), sum);
    for (int64_t i = 0; i < k; i++)
      if (slots[i] >= 0) sum = fma(set1(weights[i]), load(op.y.data<T>() + slots[i] * d + c, count), sum);
    store(out + t * d + c, sum, count);
  });
}

}  // namespace

void run(const Combine& op, std::span<Tensor> out, Cpu& cpu) {
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.x.shape[0], op.x.shape[1] * (op.weights.shape[1] + 2),
             [&](int64_t t) { combine_row<T>(op, t, out[0].data<T>()); });
  });
}

}  // namespace caracal::CARACAL_ISA

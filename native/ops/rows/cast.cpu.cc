#include "ops/rows/cast.h"

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {
namespace {

template <class T>
float widen(T v) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<float>(v);
  else
    return to_float(v);
}

template <class From, class To>
void convert(const From* x, To* y, int64_t n) {
  if constexpr (std::is_integral_v<From> || std::is_same_v<To, f8e4m3>)
    for (int64_t i = 0; i < n; i++) y[i] = from_float<To>(widen(x[i]));
  else
    for_columns(n, [&](int64_t i, int count) { store(y + i, load(x + i, count), count); });
}

template <class Fn>
void by_dtype(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::f32: return fn(Type<float>{});
    case DType::f16: return fn(Type<f16>{});
    case DType::bf16: return fn(Type<bf16>{});
    case DType::f8e4m3: return fn(Type<f8e4m3>{});
    case DType::i32: return fn(Type<int32_t>{});
    case DType::u8: return fn(Type<uint8_t>{});
    case DType::q4:
    case DType::q8: break;  // no plain tensor
  }
}

}  // namespace

void run(const Cast& op, std::span<Tensor> out, Cpu& cpu) {
  by_dtype(op.x.dtype, [&](auto from) {
    by_dtype(op.dtype, [&](auto to) {
      using From = typename decltype(from)::type;
      using To = typename decltype(to)::type;
      if constexpr (!std::is_integral_v<To>)
        for_blocks(cpu, op.x.shape.elements(),
                   [&](int64_t first, int64_t n) { convert(op.x.data<From>() + first, out[0].data<To>() + first, n); });
    });
  });
}

}  // namespace caracal::CARACAL_ISA

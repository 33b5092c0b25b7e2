#include "ops/audio/cmvn.h"

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {

void run(const Cmvn& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = op.x.shape[1];
  const float* mean = op.mean.data<float>();
  const float* scale = op.inverse_std.data<float>();
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.x.shape[0], n, [&](int64_t row) {
      const T* x = op.x.data<T>() + row * n;
      T* y = out[0].data<T>() + row * n;
      int64_t i = 0;
      for (; i + 16 <= n; i += 16) store16(y + i, (load16(x + i) - load16(mean + i)) * load16(scale + i));
      for (; i < n; i++) y[i] = from_float<T>((to_float(x[i]) - mean[i]) * scale[i]);
    });
  });
}

}  // namespace caracal::CARACAL_ISA

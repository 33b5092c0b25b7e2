#include "ops/quantization/dequantize_fp8.h"

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {

void run(const DequantizeFp8& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t n = op.codes.shape[0], k = op.codes.shape[1];
  by_activation_type(op.out_dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, n, k, [&](int64_t row) {
      const float* scales = op.scale.data<float>() + row / kScaleBlock * op.scale.shape[1];
      // A block is a whole number of vectors wide, so the columns of one vector share their scale.
      for_columns(k, [&](int64_t c, int count) {
        const F32x16 code = load(op.codes.data<f8e4m3>() + row * k + c, count);
        store(out[0].data<T>() + row * k + c, code * set1(scales[c / kScaleBlock]), count);
      });
    });
  });
}

}  // namespace caracal::CARACAL_ISA

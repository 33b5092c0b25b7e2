#include "ops/quantization/quantize_fp8.h"

#include "cpu/implement.h"
#include "ops/quantization/quantize.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

template <class T>
void quantize_block(const QuantizeFp8& op, int64_t block, std::span<Tensor> out) {
  const int64_t n = op.w.shape[0], k = op.w.shape[1], across = divide_up(k, kScaleBlock);
  const int64_t row = block / across * kScaleBlock, column = block % across * kScaleBlock;
  const int64_t rows = std::min<int64_t>(kScaleBlock, n - row), columns = std::min<int64_t>(kScaleBlock, k - column);
  F32x16 magnitude = zero();
  for (int64_t r = row; r < row + rows; r++)
    for_columns(columns, [&](int64_t c, int count) {
      const F32x16 v = load(op.w.data<T>() + r * k + column + c, count);
      check_weights<QuantizeFp8>(v, r, column + c);
      magnitude = max(magnitude, abs(v));
    });
  const float wanted = largest_lane(magnitude) / kLargestFp8;
  const float scale = wanted < kSmallestFp8Scale ? 1 : wanted;
  for (int64_t r = row; r < row + rows; r++)
    for_columns(columns, [&](int64_t c, int count) {
      float scaled[16];
      store16(scaled, load(op.w.data<T>() + r * k + column + c, count) / set1(scale));
      f8e4m3* codes = out[0].data<f8e4m3>() + r * k + column + c;
      for (int i = 0; i < count; i++) codes[i] = to_f8e4m3(scaled[i]);
    });
  out[1].data<float>()[block] = scale;
}

}  // namespace

void run(const QuantizeFp8& op, std::span<Tensor> out, Cpu& cpu) {
  by_activation_type(op.w.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    cpu.parallel_for(out[1].shape.elements(), [&](int64_t block, int) { quantize_block<T>(op, block, out); });
  });
}

}  // namespace caracal::CARACAL_ISA

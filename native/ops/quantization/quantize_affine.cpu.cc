#include "ops/quantization/quantize_affine.h"

#include <cstring>

#include "cpu/implement.h"
#include "ops/quantization/quantize.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

constexpr int kMaxGroup = 128;

// Packs eight codes into `bits` bytes.
void pack_codes(const float* codes, int64_t bits, uint8_t* to) {
  uint64_t packed = 0;
  for (int i = 0; i < 8; i++) packed |= static_cast<uint64_t>(codes[i]) << (i * bits);
  std::memcpy(to, &packed, static_cast<size_t>(bits));
}

template <class T>
void quantize_row(const QuantizeAffine& op, int64_t row, std::span<Tensor> out) {
  const int64_t k = op.w.shape[1], groups = k / op.group;
  const float levels = static_cast<float>((1 << op.bits) - 1);
  const T* w = op.w.data<T>() + row * k;
  uint8_t* codes = out[0].data<uint8_t>() + row * out[0].shape[1];
  for (int64_t g = 0; g < groups; g++, w += op.group) {
    F32x16 low = load16(w), high = low;
    for (int64_t i = 0; i < op.group; i += 16) {
      const F32x16 v = load16(w + i);
      check_weights<QuantizeAffine>(v, row, g * op.group + i);
      low = min(low, v);
      high = max(high, v);
    }
    const auto [scale, bias] = affine_group(smallest_lane(low), largest_lane(high), levels);
    float q[kMaxGroup];
    for (int64_t i = 0; i < op.group; i += 16) {
      const F32x16 steps = round((load16(w + i) - set1(bias)) / set1(scale));
      store16(q + i, min(max(steps, zero()), set1(levels)));
    }
    for (int64_t i = 0; i < op.group; i += 8, codes += op.bits) pack_codes(q + i, op.bits, codes);
    out[1].data<T>()[row * groups + g] = from_float<T>(scale);
    out[2].data<T>()[row * groups + g] = from_float<T>(bias);
  }
}

}  // namespace

void run(const QuantizeAffine& op, std::span<Tensor> out, Cpu& cpu) {
  by_activation_type(op.w.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.w.shape[0], op.w.shape[1], [&](int64_t row) { quantize_row<T>(op, row, out); });
  });
}

}  // namespace caracal::CARACAL_ISA

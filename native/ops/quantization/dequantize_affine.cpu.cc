#include "ops/quantization/dequantize_affine.h"

#include <cstring>

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {
namespace {

// Reads sixteen codes of a stream.
F32x16 load_codes(const uint8_t* from, int64_t bits) {
  float codes[16];
  for (int half = 0; half < 2; half++, from += bits) {
    uint64_t packed = 0;
    std::memcpy(&packed, from, static_cast<size_t>(bits));
    for (int i = 0; i < 8; i++, packed >>= bits) codes[8 * half + i] = static_cast<float>(packed & ((1u << bits) - 1));
  }
  return load16(codes);
}

template <class S, class T>
void dequantize_row(const DequantizeAffine& op, int64_t row, const Tensor& out) {
  const int64_t k = op.columns(), group = op.group(), groups = op.scale.shape[1];
  const uint8_t* codes = op.codes.data<uint8_t>() + row * op.codes.shape[1];
  const S* scales = op.scale.data<S>() + row * groups;
  const S* biases = op.bias ? op.bias->data<S>() + row * groups : nullptr;
  const F32x16 middle = set1(static_cast<float>(1 << (op.bits - 1)));
  T* y = out.data<T>() + row * k;
  for (int64_t g = 0; g < groups; g++) {
    const F32x16 scale = set1(to_float(scales[g]));
    for (int64_t i = 0; i < group; i += 16, codes += 2 * op.bits, y += 16) {
      const F32x16 q = load_codes(codes, op.bits);
      store16(y, biases ? scale * q + set1(to_float(biases[g])) : scale * (q - middle));
    }
  }
}

template <class S>
void dequantize(const DequantizeAffine& op, const Tensor& out, Cpu& cpu) {
  by_activation_type(op.out_dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    for_rows(cpu, op.codes.shape[0], op.columns(), [&](int64_t row) { dequantize_row<S, T>(op, row, out); });
  });
}

}  // namespace

void run(const DequantizeAffine& op, std::span<Tensor> out, Cpu& cpu) {
  if (op.scale.dtype == DType::f32)
    dequantize<float>(op, out[0], cpu);
  else if (op.scale.dtype == DType::f16)
    dequantize<f16>(op, out[0], cpu);
  else
    dequantize<bf16>(op, out[0], cpu);
}

}  // namespace caracal::CARACAL_ISA

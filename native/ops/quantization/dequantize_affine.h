#pragma once
// w = scale * q + bias, or scale * (q - 2^(bits-1)) without bias: each operation is rounded to f32, then to the output.
//   codes u8 [N, K * bits / 8]      scale, bias [N, K / group] f32 | f16 | bf16, of one dtype
//   output [N, K] of outDtype, f32 | bf16
#include "ops/quantization/affine.h"

namespace caracal {

struct DequantizeAffine {
  static constexpr const char* kName = "dequantizeAffine";
  Tensor codes, scale;
  std::optional<Tensor> bias;
  int64_t bits = 4;
  DType out_dtype = DType::f32;
  static constexpr auto kFields =
      std::tuple{field("codes", &DequantizeAffine::codes), required("bits", &DequantizeAffine::bits),
                 field("scale", &DequantizeAffine::scale), field("bias", &DequantizeAffine::bias),
                 field("outDtype", &DequantizeAffine::out_dtype)};

  int64_t columns() const { return codes.shape[1] * 8 / bits; }
  int64_t group() const { return columns() / std::max<int64_t>(scale.shape[1], 1); }

  Outputs check() const {
    Checker c{kName};
    c.rank(codes, "codes", 2);
    c.dtype(codes, "codes", {DType::u8});
    check_affine_bits(c, bits);
    if (codes.shape[1] * 8 % (32 * bits) != 0)
      c.mismatch(code::kShapeMismatch, "codes", "must have",
                 "a multiple of " + std::to_string(4 * bits) + " columns, that is, of 32 codes", codes.shape.str());
    c.shape(scale, "scale", {codes.shape[0], -1});
    c.dtype(scale, "scale", {DType::f32, DType::f16, DType::bf16});
    const int64_t k = columns(), groups = scale.shape[1];
    if (k == 0 ? groups != 0 : groups == 0 || k % groups != 0 || !is_affine_group(k / groups))
      c.mismatch(code::kShapeMismatch, "scale", "must have",
                 "a column for every 32, 64 or 128 of the " + std::to_string(k) + " codes of a row", scale.shape.str());
    c.shape(bias, "bias", scale.shape);
    c.dtype(bias, "bias", {scale.dtype});
    c.out_dtype(out_dtype);
    return {{out_dtype, {codes.shape[0], k}}};
  }
};

}  // namespace caracal

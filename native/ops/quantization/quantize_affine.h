#pragma once
// Quantises the rows of a matrix to the affine format, by the definition of MLX's `quantize` in its mode "affine", in f32:
//   range = max((maximum - minimum) / (2^bits - 1), 1e-7) of a group
//   edge  = the minimum if its magnitude is larger than the maximum's, else the maximum; range is then negated
//   q0    = edge / range, rounded
//   scale = edge / q0 and bias = edge, or, if q0 is 0, scale = range and bias = 0
//   q     = (w - bias) / scale, rounded and clamped to [0, 2^bits - 1]
// so the larger end of a group is exact, and 0 is a multiple of the scale away from it, that is, exact too up to the
// rounding of scale and bias to w's dtype. That rounding comes last: q is computed from the exact ones, as MLX does.
// All roundings are to nearest even (MLX's kernel for Metal rounds the ties of q away from zero).
//   w  [N, K] f32 | bf16      codes u8 [N, K * bits / 8]      scale, bias [N, K / group] of w's dtype
// A weight that is NaN, infinite or beyond 2^126 is INVALID_ARGUMENT when the operation runs.
#include "ops/quantization/affine.h"

namespace caracal {

struct QuantizeAffine {
  static constexpr const char* kName = "quantizeAffine";
  Tensor w;
  int64_t bits = 4, group = 64;
  static constexpr auto kFields = std::tuple{field("w", &QuantizeAffine::w), required("bits", &QuantizeAffine::bits),
                                             required("group", &QuantizeAffine::group)};

  Outputs check() const {
    Checker c{kName};
    c.rank(w, "w", 2);
    c.activations(w, "w");
    check_affine_bits(c, bits);
    if (!is_affine_group(group))
      c.mismatch(code::kInvalidArgument, "group", "must be", "32, 64 or 128", std::to_string(group));
    const int64_t n = w.shape[0], k = w.shape[1];
    if (k % group != 0)
      c.mismatch(code::kShapeMismatch, "w", "must have", "a multiple of " + std::to_string(group) + " columns",
                 w.shape.str());
    const Shape groups{n, k / group};
    return {{DType::u8, {n, k * bits / 8}}, {w.dtype, groups}, {w.dtype, groups}};
  }
};

}  // namespace caracal

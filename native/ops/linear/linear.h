#pragma once
// y = residual + layerScale ⊙ act(x·Wᵀ + bias), accumulated in f32 in an order that does not depend on the batch, so
// the bits of a row depend only on that row and the weights.
//   x [..., K] f32 | bf16     w [N, K] f32 | bf16, packed or plain; or f8e4m3 | q4 | q8, packed
//   bias, layerScale [N] f32 | bf16     residual [..., N] of the output's dtype
//   output [..., N] of x's dtype or of outDtype (f32 | bf16)
#include "core/activation.h"
#include "core/check.h"

namespace caracal {

// The checks of a weight matrix that all operations share.
inline void check_weight(const Checker& c, const Tensor& w, const char* arg, const Shape& shape,
                         std::initializer_list<DType> dtypes = {DType::f32, DType::bf16, DType::f8e4m3, DType::q4,
                                                                DType::q8}) {
  c.dtype(w, arg, dtypes);
  c.shape(w, arg, shape);
  if (w.dtype == DType::f8e4m3 && !w.packed())
    c.bad(code::kInvalidArgument, arg, "is f8e4m3 without its block scales: pack it with packWeight(w, { scale })");
}

// Weights that are multiplied together are scaled alike.
inline void check_same_scales(const Checker& c, const Tensor& gate, const Tensor& up) {
  auto text = [](const Tensor& w) {
    return "groups of " + std::to_string(w.scales.group) + " with " + dtype_name(w.scales.dtype) + " scales";
  };
  if (!(up.scales == gate.scales)) c.mismatch(code::kInvalidArgument, "up", "must have gate's", text(gate), text(up));
}

struct Linear {
  static constexpr const char* kName = "linear";
  Tensor x, w;
  std::optional<Tensor> bias, residual, layer_scale;
  Activation activation = Activation::none;
  std::optional<DType> out_dtype;
  static constexpr auto kFields = std::tuple{field("x", &Linear::x),
                                             packable("w", &Linear::w, Layout::matrix),
                                             field("bias", &Linear::bias),
                                             field("residual", &Linear::residual),
                                             field("layerScale", &Linear::layer_scale),
                                             field("activation", &Linear::activation),
                                             field("outDtype", &Linear::out_dtype)};

  Outputs check() const {
    Checker c{kName};
    c.rank_at_least(x, "x", 1);
    c.activations(x, "x");
    check_weight(c, w, "w", {-1, x.shape[-1]});
    const int64_t n = w.shape[0];
    const Shape shape = x.shape.with_last(n);
    const DType dtype = out_dtype.value_or(x.dtype);
    c.out_dtype(dtype);
    for (const auto& [t, arg] : {std::pair{&bias, "bias"}, std::pair{&layer_scale, "layerScale"}}) {
      c.activations(*t, arg);
      c.shape(*t, arg, {n});
    }
    c.dtype(residual, "residual", {dtype});
    c.shape(residual, "residual", shape);
    return {{dtype, shape}};
  }
};

}  // namespace caracal

#pragma once
// y = act(x), element by element, in f32.
//   x  [...] f32 | bf16      y  of x's shape and dtype
#include "core/activation.h"
#include "core/check.h"

namespace caracal {

// `Activation` is the enum of the functions.
struct ActivationOp {
  static constexpr const char* kName = "activation";
  Tensor x;
  Activation kind = Activation::none;
  static constexpr auto kFields = std::tuple{field("x", &ActivationOp::x), required("kind", &ActivationOp::kind)};

  Outputs check() const {
    Checker c{kName};
    c.activations(x, "x");
    return {{x.dtype, x.shape}};
  }
};

}  // namespace caracal

#pragma once
// Cepstral mean and variance normalisation, y = (x - mean) ⊙ inverseStd.
//   x [T, C] f32 | bf16      mean, inverseStd [C] f32      output [T, C] of x's dtype
#include "core/check.h"

namespace caracal {

struct Cmvn {
  static constexpr const char* kName = "cmvn";
  Tensor x, mean, inverse_std;
  static constexpr auto kFields =
      std::tuple{field("x", &Cmvn::x), field("mean", &Cmvn::mean), field("inverseStd", &Cmvn::inverse_std)};

  Outputs check() const {
    Checker c{kName};
    c.rank(x, "x", 2);
    c.activations(x, "x");
    c.shape(mean, "mean", {x.shape[1]});
    c.dtype(mean, "mean", {DType::f32});
    c.shape(inverse_std, "inverseStd", {x.shape[1]});
    c.dtype(inverse_std, "inverseStd", {DType::f32});
    return {{x.dtype, x.shape}};
  }
};

}  // namespace caracal

#pragma once
// Packs a transposed-convolution weight w [Cin, Cout, k] (f32 | bf16) into the panels of one product [k·Cout, Cin],
// with element (tap·Cout + o, c) = w[c, o, tap]. The output has w's shape.
#include "ops/audio/conv_transpose1d.h"

namespace caracal {

struct PackConvTranspose1d {
  static constexpr const char* kName = "packConvTranspose1d";
  Tensor w;
  static constexpr auto kFields = std::tuple{field("w", &PackConvTranspose1d::w)};

  Outputs check() const {
    Checker c{kName};
    c.rank(w, "w", 3);
    c.activations(w, "w");
    return {{w.dtype, w.shape, Layout::conv_transpose1d, ConvTranspose1d::packed_conv_transpose_bytes(w)}};
  }
};

}  // namespace caracal

#pragma once
// Packs a convolution weight w [Cout, Cin/groups, k] (f32 | bf16) into the panels of one product per group,
// [Cout/groups, k·Cin/groups], with element (o, tap·Cin/groups + c) = w[o, c, tap]. The output has w's shape.
#include "ops/audio/conv1d.h"

namespace caracal {

struct PackConv1d {
  static constexpr const char* kName = "packConv1d";
  Tensor w;
  int64_t groups = 1;
  static constexpr auto kFields = std::tuple{field("w", &PackConv1d::w), field("groups", &PackConv1d::groups)};

  Outputs check() const {
    Checker c{kName};
    c.rank(w, "w", 3);
    c.activations(w, "w");
    c.range(groups, "groups", 1, 1 << 20);
    if (w.shape[0] % groups != 0)
      c.bad(code::kInvalidArgument, "groups",
            "must divide the " + std::to_string(w.shape[0]) + " output channels, got " + std::to_string(groups));
    if (groups > 1 && groups == w.shape[0] && w.shape[1] == 1)
      c.bad(code::kInvalidArgument, "w", "is depthwise: pass it to conv1d unpacked");
    return {{w.dtype, w.shape, Layout::conv1d, packed_conv_bytes(w.shape, groups, w.dtype), groups}};
  }
};

}  // namespace caracal

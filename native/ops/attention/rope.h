#pragma once
// Rotary position embedding over interleaved pairs. The last ropeDim elements of every head are pairs
// (x[2i], x[2i + 1]), i = 0 .. ropeDim/2 - 1, each rotated by positions[t] * theta^(-2 i / ropeDim); the elements
// before them are copied. Angles are f64, so that position 131071 is rotated as accurately as position 1.
//   x  [T, H, D] f32 | bf16      positions [T] i32, any value      output like x
#include "core/check.h"

namespace caracal {

struct Rope {
  static constexpr const char* kName = "rope";
  Tensor x, positions;
  double theta = 0;
  std::optional<int64_t> rope_dim;  // D when absent
  static constexpr auto kFields = std::tuple{field("x", &Rope::x), field("positions", &Rope::positions),
                                             required("theta", &Rope::theta), field("ropeDim", &Rope::rope_dim)};

  int64_t rotated() const { return rope_dim.value_or(x.shape[-1]); }

  Outputs check() const {
    Checker c{kName};
    c.rank(x, "x", 3);
    c.activations(x, "x");
    c.shape(positions, "positions", {x.shape[0]});
    c.dtype(positions, "positions", {DType::i32});
    c.positive(theta, "theta");
    c.range(rotated(), "ropeDim", 0, x.shape[2]);
    if (rotated() % 2 != 0) c.bad(code::kInvalidArgument, "ropeDim", "must be even, got " + std::to_string(rotated()));
    return {{x.dtype, x.shape}};
  }
};

}  // namespace caracal

#pragma once
// y = a + b (add) or a ⊙ b (mul), computed in f32.
//   a  [..., C] f32 | bf16      b  of a's shape, or [C], f32 | bf16
//   y  a's shape and dtype
#include "core/check.h"

namespace caracal {

// What both operations share.
struct Binary {
  Tensor a, b;
  static constexpr auto kFields = std::tuple{field("a", &Binary::a), field("b", &Binary::b)};

  bool broadcast() const { return !(a.shape == b.shape); }
  Outputs check(const Checker& c) const {
    c.rank_at_least(a, "a", 1);
    c.activations(a, "a");
    c.activations(b, "b");
    if (broadcast() && !(b.shape == Shape{a.shape[-1]}))
      c.mismatch(code::kShapeMismatch, "b", "must have",
                 "a's shape " + a.shape.str() + " or " + Shape{a.shape[-1]}.str(), b.shape.str());
    return {{a.dtype, a.shape}};
  }
};

struct Add : Binary {
  static constexpr const char* kName = "add";
  Outputs check() const { return Binary::check({kName}); }
};

struct Mul : Binary {
  static constexpr const char* kName = "mul";
  Outputs check() const { return Binary::check({kName}); }
};

}  // namespace caracal

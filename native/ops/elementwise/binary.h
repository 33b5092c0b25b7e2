#pragma once
// y = a + b or a ⊙ b, computed in f32.
//   a  [..., C] f32 | bf16      b  of a's shape, or [C], f32 | bf16
//   y  a's shape and dtype
#include "core/check.h"
#include "ops/elementwise/binary_kind.h"

namespace caracal {

template <>
struct EnumNames<BinaryKind> {
  static constexpr const char* names[] = {"add", "mul"};
};

struct Binary {
  static constexpr const char* kName = "binary";
  BinaryKind kind = BinaryKind::add;
  Tensor a, b;
  static constexpr auto kFields =
      std::tuple{field("kind", &Binary::kind), field("a", &Binary::a), field("b", &Binary::b)};

  bool broadcast() const { return !(a.shape == b.shape); }

  Outputs check() const {
    Checker c{EnumNames<BinaryKind>::names[static_cast<int>(kind)]};
    c.rank_at_least(a, "a", 1);
    c.activations(a, "a");
    c.activations(b, "b");
    if (broadcast() && !(b.shape == Shape{a.shape[-1]}))
      c.bad(code::kShapeMismatch, "b",
            "must have a's shape " + a.shape.str() + " or " + Shape{a.shape[-1]}.str() + ", got " + b.shape.str());
    return {{a.dtype, a.shape}};
  }
};

}  // namespace caracal

#pragma once
// o = softmax(scale * q kᵀ) v for each head of each packed sequence; softmax and sums in f32.
//   q, k, v    [T, H, D] f32 | bf16, D a multiple of 8
//   cuSeqlens  [B + 1] i32: sequence b is rows [cuSeqlens[b], cuSeqlens[b + 1]); the first is 0 and the last is T
//   causal     query i of a sequence attends to its keys 0 .. i only
//   output     [T, H * D] of q's dtype
#include "ops/attention/cu_seqlens.h"
#include "ops/attention/head_dim.h"

namespace caracal {

struct Attention {
  static constexpr const char* kName = "attention";
  Tensor q, k, v, cu_seqlens;
  bool causal = false;
  std::optional<double> scale;  // D^-1/2 when absent
  static constexpr auto kFields =
      std::tuple{field("q", &Attention::q),           field("k", &Attention::k),
                 field("v", &Attention::v),           field("cuSeqlens", &Attention::cu_seqlens),
                 field("causal", &Attention::causal), field("scale", &Attention::scale)};

  Outputs check() const {
    Checker c{kName};
    c.rank(q, "q", 3);
    c.activations(q, "q");
    for (auto [t, name] : {std::pair{&k, "k"}, std::pair{&v, "v"}}) {
      c.shape(*t, name, q.shape);
      c.dtype(*t, name, {q.dtype});
    }
    check_head_dim(c, q.shape[2]);
    check_cu_seqlens_tensor(c, cu_seqlens);
    if (scale) c.finite(*scale, "scale");
    return {{q.dtype, {q.shape[0], q.shape[1] * q.shape[2]}}};
  }
};

}  // namespace caracal

#pragma once
// The attention of the vision encoder: 2-D rotary embedding, then RMS normalisation of q and k over all heads jointly,
// then bidirectional attention inside each packed sequence; f32 throughout.
//   qkv          [T, 3 C] f32 | bf16, each row q | k | v; C = heads * D, D a multiple of 8
//   cuSeqlens    [B + 1] i32: sequence b is rows [cuSeqlens[b], cuSeqlens[b + 1]); the first is 0 and the last is T
//   positions    [T, 2] i32: row and column of the patch in its image
//   qNorm, kNorm [C] f32 | bf16
//   output       [T, C] of qkv's dtype
// Rotation: A = [row * f_0 .. row * f_(D/4-1), column * f_0 ..], f_j = theta^(-4 j / D); elements i and i + D/2 of
// every head are rotated by A_i.
#include "ops/attention/cu_seqlens.h"
#include "ops/attention/head_dim.h"

namespace caracal {

struct VitAttention {
  static constexpr const char* kName = "vitAttention";
  Tensor qkv, cu_seqlens, positions, q_norm, k_norm;
  int64_t heads = 0;
  double theta = 10000, eps = 1e-6;
  static constexpr auto kFields = std::tuple{field("qkv", &VitAttention::qkv),
                                             field("cuSeqlens", &VitAttention::cu_seqlens),
                                             field("positions", &VitAttention::positions),
                                             field("qNorm", &VitAttention::q_norm),
                                             field("kNorm", &VitAttention::k_norm),
                                             required("heads", &VitAttention::heads),
                                             field("theta", &VitAttention::theta),
                                             field("eps", &VitAttention::eps)};

  Outputs check() const {
    Checker c{kName};
    c.rank(qkv, "qkv", 2);
    c.activations(qkv, "qkv");
    const int64_t width = qkv.shape[1] / 3;
    c.range(heads, "heads", 1, 65536);
    if (qkv.shape[1] % 3 != 0 || width % heads != 0)
      c.bad(code::kShapeMismatch, "qkv", "must have 3 * heads * head dimension columns, got " + qkv.shape.str());
    check_head_dim(c, width / heads);
    check_cu_seqlens_tensor(c, cu_seqlens);
    c.shape(positions, "positions", {qkv.shape[0], 2});
    c.dtype(positions, "positions", {DType::i32});
    c.shape(q_norm, "qNorm", {width});
    c.activations(q_norm, "qNorm");
    c.shape(k_norm, "kNorm", {width});
    c.activations(k_norm, "kNorm");
    c.positive(theta, "theta");
    c.positive(eps, "eps");
    return {{qkv.dtype, {qkv.shape[0], width}}};
  }
};

}  // namespace caracal

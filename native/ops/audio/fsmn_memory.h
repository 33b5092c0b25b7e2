#pragma once
// FSMN memory: y[t, c] = residual[t, c] + Σ_k weight[c, k] · z[t + offset(k), c] with the taps
// -leftOrder·leftStride, …, -leftStride, 0, rightStride, …, rightOrder·rightStride. z is x, or with `norm` layerNorm(x)
// rounded to x's dtype, bit-identical to running the two operations; it is zero outside the sequence. (On a GPU, z goes
// through global memory if the rows that a block needs do not fit into shared memory.)
//   x, residual  [T, C] f32 | bf16        weight [C, leftOrder+1+rightOrder] or [C, 1, …] f32 | bf16
//   norm.weight, norm.bias  [C] f32 | bf16, of one dtype
//   output       [T, C] of x's dtype; products and sums are in f32
// Streaming: with D = rightOrder·rightStride, `state` [leftOrder·leftStride + D, C] holds the last rows of z, `pending`
// [D, C] the residual rows that wait for their look-ahead. Output row i then belongs to the time D rows before x's row
// i, so the first D rows of a stream are meaningless. `last` ends the stream and returns D more rows.
#include "ops/audio/streaming.h"
#include "ops/norm/layer_norm.h"

namespace caracal {

struct FsmnMemory {
  static constexpr const char* kName = "fsmnMemory";
  Tensor x, weight;
  std::optional<Tensor> norm_weight, norm_bias, residual, state, pending;
  double eps = LayerNorm{}.eps;
  int64_t left_order = 0, right_order = 0, left_stride = 1, right_stride = 1;
  bool last = false;
  static constexpr auto kFields = std::tuple{field("x", &FsmnMemory::x),
                                             field("weight", &FsmnMemory::weight),
                                             field("norm.weight", &FsmnMemory::norm_weight),
                                             field("norm.bias", &FsmnMemory::norm_bias),
                                             field("norm.eps", &FsmnMemory::eps),
                                             field("residual", &FsmnMemory::residual),
                                             field("state", &FsmnMemory::state, Access::inout),
                                             field("pending", &FsmnMemory::pending, Access::inout),
                                             required("leftOrder", &FsmnMemory::left_order),
                                             field("rightOrder", &FsmnMemory::right_order),
                                             field("leftStride", &FsmnMemory::left_stride),
                                             field("rightStride", &FsmnMemory::right_stride),
                                             field("last", &FsmnMemory::last)};

  int64_t delay() const { return right_order * right_stride; }
  int64_t taps() const { return left_order + 1 + right_order; }
  // Distance in rows between the first tap and the last.
  int64_t span() const { return left_order * left_stride + delay(); }
  // The operation that computes z from x. Requires norm_weight.
  LayerNorm norm() const { return {x, *norm_weight, norm_bias, eps}; }

  Outputs check() const {
    Checker c{kName};
    c.rank(x, "x", 2);
    c.activations(x, "x");
    c.range(left_order, "leftOrder", 0, 1 << 16);
    c.range(right_order, "rightOrder", 0, 1 << 16);
    c.range(left_stride, "leftStride", 1, 1 << 16);
    c.range(right_stride, "rightStride", 1, 1 << 16);
    c.activations(weight, "weight");
    const int64_t channels = x.shape[1];
    if (channels < 1) c.bad(code::kShapeMismatch, "x", "must have at least one column, got " + x.shape.str());
    if (weight.shape.rank() == 3)
      c.shape(weight, "weight", {channels, 1, taps()});
    else
      c.shape(weight, "weight", {channels, taps()});
    check_norm(c);
    c.shape(residual, "residual", x.shape);
    c.dtype(residual, "residual", {x.dtype});
    check_states(c);
    return {{x.dtype, {x.shape[0] + (state && last ? delay() : 0), channels}}};
  }

 private:
  void check_norm(const Checker& c) const {
    if (norm_weight) c.activations(*norm_weight, "norm.weight");
    c.shape(norm_weight, "norm.weight", {x.shape[1]});
    if (norm_bias && !norm_weight) c.bad(code::kInvalidArgument, "norm.bias", "needs norm.weight");
    c.shape(norm_bias, "norm.bias", {x.shape[1]});
    if (norm_bias) c.dtype(*norm_bias, "norm.bias", {norm_weight->dtype});
    c.positive(eps, "norm.eps");
  }
  void check_states(const Checker& c) const {
    const int64_t channels = x.shape[1];
    auto given = [](const std::optional<Tensor>& t) { return t ? &*t : nullptr; };
    if (last && !state) c.bad(code::kInvalidArgument, "last", "ends a stream and needs state");
    if (state)
      check_state(c, *state, "state", x.dtype, {span(), channels},
                  {&x, &weight, given(norm_weight), given(norm_bias), given(residual)});
    const bool delayed = state && residual && delay() > 0;
    if (delayed && !pending)
      c.bad(code::kInvalidArgument, "pending", "is required: a stream with look-ahead must buffer residual rows");
    if (pending && !delayed) c.bad(code::kInvalidArgument, "pending", "needs state, residual and rightOrder above 0");
    if (pending)
      check_state(c, *pending, "pending", x.dtype, {delay(), channels},
                  {&x, &weight, given(norm_weight), given(norm_bias), &*residual, &*state});
  }
};

}  // namespace caracal

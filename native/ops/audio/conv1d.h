#pragma once
// y[t, o] = residual[t, o] + act(bias[o] + Σ_tap Σ_c w[o, c, tap] · x[t·stride + tap·dilation - padLeft, c]). x is zero
// outside the sequence, and c runs over the inputs of o's group. Sums are in f32 in a fixed order: taps, then channels.
// act is `activation`, or Snake with alpha = `snake` (ops/audio/snake.h); it applies in f32, before y is rounded.
//   x [T, Cin] f32 | bf16     w [Cout, Cin/groups, k] f32 | bf16, plain or packed by packConv1d
//   bias, snake [Cout] f32 | bf16    residual, output [T', Cout] of x's dtype
//   T' = floor((T + padLeft + padRight - (k-1)·dilation - 1) / stride) + 1, or 0
// Streaming: `state` [(k-1)·dilation, Cin] of x's dtype replaces the left padding. The first output row's last tap
// reads row `first` of x (always 0 if causal with stride 1), so a stream may be cut anywhere. padRight zero rows follow
// x: they end a stream with look-ahead. Of several streams, all this holds for each piece.
#include "core/activation.h"
#include "core/packed_weight.h"
#include "ops/audio/streaming.h"

namespace caracal {

struct Conv1d {
  static constexpr const char* kName = "conv1d";
  Tensor x, w;
  std::optional<Tensor> bias, snake, residual;
  std::vector<Tensor> state;
  int64_t dilation = 1, groups = 1, stride = 1, pad_left = 0, pad_right = 0, first = 0;
  Activation activation = Activation::none;
  static constexpr auto kFields = std::tuple{field("x", &Conv1d::x),
                                             packable("w", &Conv1d::w, Layout::conv1d),
                                             field("bias", &Conv1d::bias),
                                             field("snake", &Conv1d::snake),
                                             field("residual", &Conv1d::residual),
                                             field("state", &Conv1d::state, Access::inout),
                                             field("dilation", &Conv1d::dilation),
                                             field("groups", &Conv1d::groups),
                                             field("stride", &Conv1d::stride),
                                             field("padLeft", &Conv1d::pad_left),
                                             field("padRight", &Conv1d::pad_right),
                                             field("first", &Conv1d::first),
                                             field("activation", &Conv1d::activation)};

  int64_t span() const { return (w.shape[2] - 1) * dilation; }
  int64_t streams() const { return stream_count(state); }
  // Rows of x and of the output that belong to a stream.
  int64_t stream_rows() const { return x.shape[0] / streams(); }
  int64_t stream_rows_out() const {
    const int64_t room = stream_rows() + pad_right + (state.empty() ? pad_left - span() : -first);
    return room > 0 ? (room - 1) / stride + 1 : 0;
  }
  // Row of a stream's x that the first tap of its output row 0 reads.
  int64_t origin() const { return state.empty() ? -pad_left : first - span(); }
  std::optional<Tensor> first_state() const { return state.empty() ? std::nullopt : std::optional(state[0]); }
  // The call by itself that gives the i-th stream's rows of the output.
  Conv1d stream(int64_t i) const {
    Conv1d one = *this;
    one.x = rows_of(x, i * stream_rows(), stream_rows());
    if (residual) one.residual = rows_of(*residual, i * stream_rows_out(), stream_rows_out());
    if (!state.empty()) one.state = {state[static_cast<size_t>(i)]};
    return one;
  }
  bool depthwise() const { return groups == x.shape[1] && groups == w.shape[0]; }

  Outputs check() const;

 private:
  void check_options(const Checker& c) const;
  void check_weight(const Checker& c) const;
};

inline size_t packed_conv_bytes(const Shape& w, int64_t groups, DType dtype) {
  return packed_bytes(groups, w[0] / groups, w[1] * w[2], dtype);
}

inline void Conv1d::check_options(const Checker& c) const {
  constexpr int64_t max = 1 << 20;
  c.range(dilation, "dilation", 1, max);
  c.range(groups, "groups", 1, max);
  c.range(stride, "stride", 1, max);
  check_weight(c);  // before the padding, which depends on the taps
  c.range(span(), "(k - 1) · dilation", 0, max);
  c.range(pad_left, "padLeft", 0, max);
  c.range(pad_right, "padRight", 0, max);
  c.range(first, "first", 0, max);
  if (!state.empty() && pad_left != 0)
    c.bad(code::kInvalidArgument, "padLeft", "must be 0 with a state, which replaces the padding");
  if (state.empty() && first != 0) c.bad(code::kInvalidArgument, "first", "must be 0 without a state");
}

inline void Conv1d::check_weight(const Checker& c) const {
  c.rank(w, "w", 3);
  c.dtype(w, "w", {DType::f32, DType::bf16});
  if (w.shape[1] < 1 || w.shape[2] < 1)
    c.bad(code::kShapeMismatch, "w", "must have at least one input channel and one tap, got " + w.shape.str());
  if (x.shape[1] % groups != 0 || w.shape[0] % groups != 0)
    c.bad(code::kInvalidArgument, "groups",
          "must divide both channel counts " + std::to_string(x.shape[1]) + " and " + std::to_string(w.shape[0]) +
              ", got " + std::to_string(groups));
  c.shape(w, "w", {-1, x.shape[1] / groups, -1});
  if (!w.packed()) return;
  if (depthwise() && groups > 1)
    c.bad(code::kInvalidArgument, "w", "is packed, but a depthwise convolution needs a plain weight");
  if (w.groups != groups)
    c.bad(code::kInvalidArgument, "w",
          "was packed by packConv1d with groups " + std::to_string(w.groups) + ", not " + std::to_string(groups));
}

inline Outputs Conv1d::check() const {
  Checker c{kName};
  c.rank(x, "x", 2);
  c.activations(x, "x");
  check_options(c);
  check_streams(c, x, state, "state");
  const Shape shape{streams() * stream_rows_out(), w.shape[0]};
  c.shape(bias, "bias", {w.shape[0]});
  c.dtype(bias, "bias", {DType::f32, DType::bf16});
  c.shape(snake, "snake", {w.shape[0]});
  c.dtype(snake, "snake", {DType::f32, DType::bf16});
  if (snake && activation != Activation::none)
    c.bad(code::kInvalidArgument, "snake", "is an activation itself: omit `activation`");
  c.shape(residual, "residual", shape);
  c.dtype(residual, "residual", {x.dtype});
  std::vector<const Tensor*> others{&x, &w};
  if (residual) others.push_back(&*residual);
  check_states(c, state, "state", x.dtype, {span(), x.shape[1]}, others);
  return {{x.dtype, shape}};
}

}  // namespace caracal

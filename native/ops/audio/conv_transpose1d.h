#pragma once
// Transposed convolution: y[t·stride + j - padding, o] += Σ_c w[c, o, j] · x[t, c], then + bias[o].
//   x [T, Cin] f32 | bf16     w [Cin, Cout, k] f32 | bf16, plain or packed by packConvTranspose1d
//   bias [Cout] f32 | bf16    output [T', Cout] of x's dtype, T' = (T-1)·stride + k - 2·padding + outputPadding, or 0
// Sums are in f32: channels in order, then the overlapping input rows in order of time.
// Streaming: `state` f32 [max(k - stride, 0), Cout] holds the sums that later rows will add to; it starts as zeros.
// Each call returns T·stride rows, and the first `padding` rows of a stream are not part of the result. `last` returns
// k - stride - padding + outputPadding more rows.
#include "core/packed_weight.h"
#include "ops/audio/streaming.h"

namespace caracal {

struct ConvTranspose1d {
  static constexpr const char* kName = "convTranspose1d";
  Tensor x, w;
  std::optional<Tensor> bias, state;
  int64_t stride = 0, padding = 0, output_padding = 0;
  bool last = false;
  static constexpr auto kFields = std::tuple{field("x", &ConvTranspose1d::x),
                                             packable("w", &ConvTranspose1d::w, Layout::conv_transpose1d),
                                             field("bias", &ConvTranspose1d::bias),
                                             field("state", &ConvTranspose1d::state, Access::inout),
                                             required("stride", &ConvTranspose1d::stride),
                                             field("padding", &ConvTranspose1d::padding),
                                             field("outputPadding", &ConvTranspose1d::output_padding),
                                             field("last", &ConvTranspose1d::last)};

  // Output rows of one input row that overlap those of the next.
  int64_t overlap_rows() const { return w.shape[2] > stride ? w.shape[2] - stride : 0; }
  // Whether the product [T, k·Cout] is the output: nothing overlaps and nothing is cut off.
  bool tiled() const { return w.shape[2] == stride && padding == 0 && output_padding == 0; }
  int64_t rows_out() const {
    const int64_t tail = w.shape[2] - stride - padding + output_padding;
    const int64_t rows = x.shape[0] * stride + (state ? (last ? tail : 0) : (x.shape[0] > 0 ? tail - padding : 0));
    return rows > 0 ? rows : 0;
  }

  Outputs check() const {
    Checker c{kName};
    constexpr int64_t max = 1 << 20;
    c.rank(x, "x", 2);
    c.activations(x, "x");
    c.rank(w, "w", 3);
    c.dtype(w, "w", {DType::f32, DType::bf16});
    c.shape(w, "w", {x.shape[1], -1, -1});
    if (w.shape[2] < 1) c.bad(code::kShapeMismatch, "w", "must have at least one tap, got " + w.shape.str());
    c.range(stride, "stride", 1, max);
    c.range(padding, "padding", 0, max);
    c.range(output_padding, "outputPadding", 0, stride - 1);
    c.shape(bias, "bias", {w.shape[1]});
    c.dtype(bias, "bias", {DType::f32, DType::bf16});
    if (last && !state) c.bad(code::kInvalidArgument, "last", "ends a stream and needs state");
    if (state) {
      check_state(c, *state, "state", DType::f32, {overlap_rows(), w.shape[1]}, {&x, &w});
      if (padding > w.shape[2] - stride + output_padding)
        c.bad(code::kInvalidArgument, "padding",
              "must be at most k - stride + outputPadding in a stream: more would cut rows already returned");
    }
    return {{x.dtype, {rows_out(), w.shape[1]}}};
  }

  static size_t packed_conv_transpose_bytes(const Tensor& w) {
    return packed_bytes(1, w.shape[1] * w.shape[2], w.shape[0], w.dtype);
  }
};

}  // namespace caracal

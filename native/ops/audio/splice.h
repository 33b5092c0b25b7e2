#pragma once
// Stacks frames with their neighbours: y[t] = [x[s·t - left] | … | x[s·t + right]] with s = stride. Indices beyond the
// ends are clamped to the first or the last frame.
//   x [T, C] f32 | bf16      output [ceil(T / stride), C·(left+1+right)] of x's dtype
// Streaming: `state` [left + right, C] holds the last frames, `known` of which belong to the stream. There are `rows`
// output rows; row t is centred on frame `first` + stride·t of x (a frame of the state if negative). Frames beyond x's
// end repeat x's last one, so only the last call of a stream may request them.
#include "core/math.h"
#include "ops/audio/streaming.h"

namespace caracal {

struct Splice {
  static constexpr const char* kName = "splice";
  Tensor x;
  std::optional<Tensor> state;
  int64_t left = 0, right = 0, stride = 1;
  int64_t first = 0, rows = 0, known = 0;
  static constexpr auto kFields =
      std::tuple{field("x", &Splice::x),           field("state", &Splice::state, Access::inout),
                 required("left", &Splice::left),  required("right", &Splice::right),
                 field("stride", &Splice::stride), field("first", &Splice::first),
                 field("rows", &Splice::rows),     field("known", &Splice::known)};

  int64_t out_rows() const { return state ? rows : divide_up(x.shape[0], stride); }

  Outputs check() const {
    Checker c{kName};
    c.rank(x, "x", 2);
    c.activations(x, "x");
    c.range(left, "left", 0, 1 << 16);
    c.range(right, "right", 0, 1 << 16);
    c.range(stride, "stride", 1, 1 << 16);
    const int64_t frames = x.shape[0];
    if (state) {
      check_state(c, *state, "state", x.dtype, {left + right, x.shape[1]}, {&x});
      c.range(known, "known", 0, left + right);
      c.range(rows, "rows", 0, frames + known);
      if (rows > 0) c.range(first, "first", -known, frames - 1 - (rows - 1) * stride);
    }
    return {{x.dtype, {out_rows(), x.shape[1] * (left + 1 + right)}}};
  }
};

}  // namespace caracal

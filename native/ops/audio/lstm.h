#pragma once
// One LSTM layer over a sequence, with the gates in the order i, f, g, o:
//   [i f g o] = x[t]·wIhᵀ + bIh + bHh + h·wHhᵀ;  c = σ(f)·c + σ(i)·tanh(g);  h = σ(o)·tanh(c);  y[t] = h
//   x [T, I] f32 | bf16     wIh [4H, I], wHh [4H, H] f32 | bf16, plain or packed (a packed wHh: H a multiple of 16)
//   bIh, bHh [4H] f32 | bf16     h, c [H] f32, updated in place     output [T, H] of x's dtype
// Everything but the output is computed in f32. Any division of the sequence into calls gives the same bits. Of several
// streams, h and c are lists.
#include "ops/audio/streaming.h"

namespace caracal {

struct Lstm {
  static constexpr const char* kName = "lstm";
  Tensor x, w_ih, w_hh;
  std::vector<Tensor> h, c;
  std::optional<Tensor> b_ih, b_hh;
  static constexpr auto kFields = std::tuple{field("x", &Lstm::x),
                                             packable("wIh", &Lstm::w_ih, Layout::matrix),
                                             packable("wHh", &Lstm::w_hh, Layout::matrix),
                                             field("bIh", &Lstm::b_ih),
                                             field("bHh", &Lstm::b_hh),
                                             field("h", &Lstm::h, Access::inout),
                                             field("c", &Lstm::c, Access::inout)};

  int64_t streams() const { return stream_count(h); }
  int64_t stream_rows() const { return x.shape[0] / streams(); }
  // The call by itself that gives the i-th stream's rows of the output.
  Lstm stream(int64_t i) const {
    Lstm one = *this;
    one.x = rows_of(x, i * stream_rows(), stream_rows());
    one.h = {h[static_cast<size_t>(i)]};
    one.c = {c[static_cast<size_t>(i)]};
    return one;
  }

  Outputs check() const {
    Checker k{kName};
    k.rank(x, "x", 2);
    k.activations(x, "x");
    k.rank(w_hh, "wHh", 2);
    const int64_t hidden = w_hh.shape[1];
    k.shape(w_hh, "wHh", {4 * hidden, hidden});
    k.dtype(w_hh, "wHh", {DType::f32, DType::bf16});
    k.shape(w_ih, "wIh", {4 * hidden, x.shape[1]});
    k.dtype(w_ih, "wIh", {DType::f32, DType::bf16});
    if (w_hh.packed() && hidden % 16 != 0)
      k.bad(code::kInvalidArgument, "wHh",
            "is packed, which requires a hidden size that is a multiple of 16, got " + std::to_string(hidden) +
                ": pass it unpacked");
    k.shape(b_ih, "bIh", {4 * hidden});
    k.dtype(b_ih, "bIh", {DType::f32, DType::bf16});
    k.shape(b_hh, "bHh", {4 * hidden});
    k.dtype(b_hh, "bHh", {DType::f32, DType::bf16});
    if (h.empty()) k.bad(code::kInvalidArgument, "h", "must hold at least one state");
    if (h.size() != c.size())
      k.mismatch(code::kInvalidArgument, "c", "must hold", "as many states as h, " + std::to_string(h.size()),
                 std::to_string(c.size()));
    check_streams(k, x, h, "h");
    std::vector<const Tensor*> others{&x, &w_ih, &w_hh};
    check_states(k, h, "h", DType::f32, {hidden}, others);
    check_states(k, c, "c", DType::f32, {hidden}, others);
    return {{x.dtype, {x.shape[0], hidden}}};
  }
};

}  // namespace caracal

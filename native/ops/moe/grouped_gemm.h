#pragma once
// One GEMM per expert over ragged rows: y[r] = x[r]·W[e]ᵀ for r in [offsets[e], offsets[e+1]). An expert may have any
// number of rows, including 0. With `gather`, row r reads x[gather[r]], so the permuted activations are never written out.
//   x [R, K] f32 | bf16     w [E, N, K] packed     offsets i32 [E+1], 0 = offsets[0] <= … <= offsets[E] <= rows
//   gather i32 [R'] (optional)     output [R', N] of x's dtype; rows from offsets[E] on are zero
// A row has the bits that `linear` gives with the expert's weight. Offsets that do not rise and gathered rows that x does
// not have are INDEX_OUT_OF_RANGE when the operation runs.
#include "ops/linear/linear.h"

namespace caracal {

// The part of check() that both grouped operations share. Returns the output's shape.
inline Shape check_groups(const Checker& c, const Tensor& x, const Tensor& w, const char* w_name, const Tensor& offsets,
                          const std::optional<Tensor>& gather) {
  c.rank(x, "x", 2);
  c.activations(x, "x");
  c.dtype(w, w_name, {DType::f32, DType::bf16, DType::f8e4m3, DType::q4, DType::q8});
  c.shape(w, w_name, {-1, -1, x.shape[1]});
  if (!w.packed()) c.bad(code::kInvalidArgument, w_name, "must be packed: use packWeights on the experts' matrices");
  c.dtype(offsets, "offsets", {DType::i32});
  c.shape(offsets, "offsets", {w.shape[0] + 1});
  c.dtype(gather, "gather", {DType::i32});
  if (gather) c.rank(*gather, "gather", 1);
  return {gather ? gather->shape[0] : x.shape[0], w.shape[1]};
}

inline Error offsets_error(const char* op, int64_t index, int64_t offset, int64_t rows) {
  return index_error(op, "offsets", index, offset,
                     "offsets must rise from 0 to at most " + std::to_string(rows) + ", got " + std::to_string(offset) +
                         " at " + std::to_string(index));
}

inline Error gather_error(const char* op, int64_t index, int64_t row, int64_t x_rows) {
  return index_error(op, "gather", index, row,
                     "gather[" + std::to_string(index) + "] is " + std::to_string(row) + ", but x has " +
                         std::to_string(x_rows) + " rows");
}

struct GroupedGemm {
  static constexpr const char* kName = "groupedGemm";
  Tensor x, w, offsets;
  std::optional<Tensor> gather;
  static constexpr auto kFields =
      std::tuple{field("x", &GroupedGemm::x), packable("w", &GroupedGemm::w, Layout::experts),
                 field("offsets", &GroupedGemm::offsets), field("gather", &GroupedGemm::gather)};
  Outputs check() const { return {{x.dtype, check_groups({kName}, x, w, "w", offsets, gather)}}; }
};

// h[r] = silu(x[r]·G[e]ᵀ) ⊙ (x[r]·U[e]ᵀ): the first half of an expert, fused with its activation.
struct GroupedSwiglu {
  static constexpr const char* kName = "groupedSwiglu";
  Tensor x, gate, up, offsets;
  std::optional<Tensor> gather;
  static constexpr auto kFields =
      std::tuple{field("x", &GroupedSwiglu::x), packable("gate", &GroupedSwiglu::gate, Layout::experts),
                 packable("up", &GroupedSwiglu::up, Layout::experts), field("offsets", &GroupedSwiglu::offsets),
                 field("gather", &GroupedSwiglu::gather)};
  Outputs check() const {
    Checker c{kName};
    const Shape shape = check_groups(c, x, gate, "gate", offsets, gather);
    c.shape(up, "up", gate.shape);
    c.dtype(up, "up", {gate.dtype});
    check_same_scales(c, gate, up);
    if (!up.packed()) c.bad(code::kInvalidArgument, "up", "must be packed like gate");
    return {{x.dtype, shape}};
  }
};

}  // namespace caracal

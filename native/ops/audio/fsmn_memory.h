#pragma once
// FSMN memory: y[t, c] = residual[t, c] + Σ_k weight[c, k] · z[t + offset(k), c] with the taps
// -leftOrder·leftStride, …, -leftStride, 0, rightStride, …, rightOrder·rightStride; z is zero outside the sequence.
//   z, residual  [T, C] f32 | bf16        weight [C, leftOrder+1+rightOrder] or [C, 1, …] f32 | bf16
//   output       [T, C] of z's dtype; products and sums in f32
// Streaming: with D = rightOrder·rightStride, `state` [leftOrder·leftStride + D, C] holds the last rows of z, `pending`
// [D, C] the residual rows that wait for their look-ahead. Output row i then belongs to the time D rows before z's row
// i: the first D rows of a stream mean nothing. `last` ends the stream and gives D rows more.
#include "ops/audio/streaming.h"

namespace caracal {

struct FsmnMemory {
  static constexpr const char* kName = "fsmnMemory";
  Tensor z, weight;
  std::optional<Tensor> residual, state, pending;
  int64_t left_order = 0, right_order = 0, left_stride = 1, right_stride = 1;
  bool last = false;
  static constexpr auto kFields = std::tuple{field("z", &FsmnMemory::z),
                                             field("weight", &FsmnMemory::weight),
                                             field("residual", &FsmnMemory::residual),
                                             field("state", &FsmnMemory::state, Access::inout),
                                             field("pending", &FsmnMemory::pending, Access::inout),
                                             field("leftOrder", &FsmnMemory::left_order),
                                             field("rightOrder", &FsmnMemory::right_order),
                                             field("leftStride", &FsmnMemory::left_stride),
                                             field("rightStride", &FsmnMemory::right_stride),
                                             field("last", &FsmnMemory::last)};

  int64_t delay() const { return right_order * right_stride; }

  Outputs check() const {
    Checker c{kName};
    c.rank(z, "z", 2);
    c.activations(z, "z");
    c.range(left_order, "leftOrder", 0, 1 << 16);
    c.range(right_order, "rightOrder", 0, 1 << 16);
    c.range(left_stride, "leftStride", 1, 1 << 16);
    c.range(right_stride, "rightStride", 1, 1 << 16);
    c.activations(weight, "weight");
    const int64_t channels = z.shape[1], taps = left_order + 1 + right_order;
    if (weight.shape.rank() == 3)
      c.shape(weight, "weight", {channels, 1, taps});
    else
      c.shape(weight, "weight", {channels, taps});
    c.shape(residual, "residual", z.shape);
    c.dtype(residual, "residual", {z.dtype});
    check_states(c);
    return {{z.dtype, {z.shape[0] + (state && last ? delay() : 0), channels}}};
  }

 private:
  void check_states(const Checker& c) const {
    const int64_t channels = z.shape[1];
    if (last && !state) c.bad(code::kInvalidArgument, "last", "ends a stream and needs state");
    if (state) check_state(c, *state, "state", z.dtype, {left_order * left_stride + delay(), channels}, {&z, &weight});
    const bool delayed = state && residual && delay() > 0;
    if (delayed && !pending)
      c.bad(code::kInvalidArgument, "pending", "is needed: a stream that looks ahead keeps residual rows waiting");
    if (pending && !delayed)
      c.bad(code::kInvalidArgument, "pending", "goes with state, residual and rightOrder above 0");
    if (pending) check_state(c, *pending, "pending", z.dtype, {delay(), channels}, {&z, &*residual, &*state});
  }
};

}  // namespace caracal

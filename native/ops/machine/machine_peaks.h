#pragma once
// What this machine can do at most, measured now on the device's own threads: the denominators of a benchmark.
//   buffer  f32, larger than the last-level cache; it is read, not written
//   output  f32 [3]: fused multiply-adds of f32 as GFLOP/s (2 per multiply-add); those of bf16 matrices with f32 sums,
//           which are the same where there is no unit for them; reading as GB/s
#include "core/check.h"

namespace caracal {

struct MachinePeaks {
  static constexpr const char* kName = "machinePeaks";
  Tensor buffer;
  static constexpr auto kFields = std::tuple{field("buffer", &MachinePeaks::buffer)};

  Outputs check() const {
    Checker c{kName};
    c.dtype(buffer, "buffer", {DType::f32});
    if (buffer.shape.elements() < 1 << 20) c.bad(code::kShapeMismatch, "buffer", "must have at least 2^20 elements");
    return {{DType::f32, {3}}};
  }
};

}  // namespace caracal

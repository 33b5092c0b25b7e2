#pragma once
// Measures the device's peak throughput, with which benchmarks compare.
//   buffer  f32, larger than the last-level cache; read only
//   output  f32 [3]: f32 fused multiply-adds in GFLOP/s (2 FLOP each); multiply-adds of bf16 matrices with f32 sums,
//           equal to the first if there are no matrix units; reading in GB/s
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

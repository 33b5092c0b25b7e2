#pragma once
// Rearranges weights [N, K], or a list of E of them as [E, N, K], into the layout that the matrix kernels of the device
// read (cpu/gemm_panels.h, cuda/packed_weight.h). Done once, at load. On the CPU, the pages of a memory-mapped source are
// given back as they are packed, so that a weight takes up memory only once.
//   weights  E tensors [N, K], or one [E, N, K]: f32 | bf16 | f8e4m3
//   stack    whether a single [N, K] becomes [1, N, K], as a list of several would
//   scales   f8e4m3 only, one per weight: f32 [ceil(N/128), ceil(K/128)], weight = stored value * scale
// A NaN in an f8e4m3 weight is INVALID_ARGUMENT when the operation runs.
#include "core/check.h"
#include "core/packed_weight.h"

namespace caracal {

struct PackWeight {
  static constexpr const char* kName = "packWeight";
  std::vector<Tensor> weights, scales;
  bool stack = false;
  static constexpr auto kFields = std::tuple{field("weights", &PackWeight::weights),
                                             field("scales", &PackWeight::scales), field("stack", &PackWeight::stack)};

  int64_t matrices() const { return weights[0].shape.rank() == 3 ? weights[0].shape[0] : int64_t(weights.size()); }

  Outputs check() const {
    Checker c{kName};
    if (weights.empty()) c.bad(code::kInvalidArgument, "weights", "must not be empty");
    const Tensor& first = weights[0];
    if (first.shape.rank() != 2 && !(first.shape.rank() == 3 && weights.size() == 1))
      c.bad(code::kShapeMismatch, "weights", "must be matrices [N, K] or one [E, N, K], got " + first.shape.str());
    c.dtype(first, "weights", {DType::f32, DType::bf16, DType::f8e4m3});
    for (const Tensor& w : weights) {
      c.rows(w, "weights");
      c.shape(w, "weights", first.shape);
      c.dtype(w, "weights", {first.dtype});
    }
    const int64_t n = first.shape[-2], k = first.shape[-1];
    const size_t wanted = first.dtype == DType::f8e4m3 ? weights.size() : 0;
    if (scales.size() != wanted)
      c.bad(code::kInvalidArgument, "scales",
            "must be " + std::to_string(wanted) + " tensors (f8e4m3 weights have one each), got " +
                std::to_string(scales.size()));
    Shape scale_shape{divide_up(n, kScaleBlock), divide_up(k, kScaleBlock)};
    if (first.shape.rank() == 3) scale_shape = {first.shape[0], scale_shape[0], scale_shape[1]};
    for (const Tensor& s : scales) {
      c.dtype(s, "scales", {DType::f32});
      c.shape(s, "scales", scale_shape);
    }
    const bool matrix = weights.size() == 1 && first.shape.rank() == 2 && !stack;
    const Shape shape = matrix ? Shape{n, k} : Shape{matrices(), n, k};
    return {{first.dtype, shape, Layout::panels, packed_bytes(matrices(), n, k, first.dtype)}};
  }
};

}  // namespace caracal

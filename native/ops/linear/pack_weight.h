#pragma once
// Rearranges weights into the layout that the matrix kernels of the device read (cpu/gemm_panels.h,
// cuda/packed_weight.h). Done once, at load. On the CPU, the pages of a memory-mapped source are given back as they are
// packed, so that a weight takes up memory only once.
//   packWeight   w [N, K] f32 | bf16 | f8e4m3      output [N, K]
//   packWeights  weights E tensors [N, K], or one [E, N, K]      output [E, N, K]
//   scale(s)     f8e4m3 only, one per weight: f32 [ceil(N/128), ceil(K/128)], weight = stored value * scale
// A NaN in an f8e4m3 weight is INVALID_ARGUMENT when the operation runs.
#include <span>

#include "core/check.h"
#include "core/packed_weight.h"

namespace caracal {

// The sources of a packed weight: matrices of one shape and dtype, as tensors [N, K] or in one tensor [E, N, K].
struct WeightSources {
  const char* op;
  std::span<const Tensor> weights, scales;

  const Tensor& first() const { return weights[0]; }
  bool stacked() const { return first().shape.rank() == 3; }
  int64_t matrices() const { return stacked() ? first().shape[0] : static_cast<int64_t>(weights.size()); }

  // Returns the output, with a leading dimension of experts for Layout::experts.
  OutputSpec check(const char* name, const char* scale_name, Layout layout) const {
    Checker c{op};
    c.dtype(first(), name, {DType::f32, DType::bf16, DType::f8e4m3});
    for (const Tensor& w : weights) {
      c.shape(w, name, first().shape);
      c.dtype(w, name, {first().dtype});
    }
    const int64_t n = first().shape[-2], k = first().shape[-1];
    check_scales(c, scale_name, {divide_up(n, kScaleBlock), divide_up(k, kScaleBlock)});
    if (first().dtype == DType::f8e4m3 && k == 0)
      c.bad(code::kShapeMismatch, name, "must have at least one column, got " + first().shape.str());
    const Shape shape = layout == Layout::experts ? Shape{matrices(), n, k} : Shape{n, k};
    return {first().dtype, shape, layout, packed_bytes(matrices(), n, k, first().dtype)};
  }

 private:
  void check_scales(const Checker& c, const char* name, const Shape& of_matrix) const {
    const size_t wanted = first().dtype == DType::f8e4m3 ? weights.size() : 0;
    if (scales.size() != wanted)
      c.bad(code::kInvalidArgument, name,
            wanted == 0 ? std::string("must be left out: only f8e4m3 weights have scales, and these are ") +
                              dtype_name(first().dtype)
                        : "must be " + std::to_string(wanted) + " (one for each f8e4m3 weight), got " +
                              std::to_string(scales.size()));
    const Shape shape = stacked() ? Shape{first().shape[0], of_matrix[0], of_matrix[1]} : of_matrix;
    for (const Tensor& s : scales) {
      c.dtype(s, name, {DType::f32});
      c.shape(s, name, shape);
    }
  }
};

struct PackWeight {
  static constexpr const char* kName = "packWeight";
  Tensor w;
  std::optional<Tensor> scale;
  static constexpr auto kFields = std::tuple{field("w", &PackWeight::w), field("scale", &PackWeight::scale)};

  WeightSources sources() const {
    return {kName, {&w, 1}, scale ? std::span<const Tensor>(&*scale, 1) : std::span<const Tensor>()};
  }
  Outputs check() const {
    Checker{kName}.rank(w, "w", 2);
    return {sources().check("w", "scale", Layout::matrix)};
  }
};

struct PackWeights {
  static constexpr const char* kName = "packWeights";
  std::vector<Tensor> weights, scales;
  static constexpr auto kFields =
      std::tuple{required("weights", &PackWeights::weights), field("scales", &PackWeights::scales)};

  WeightSources sources() const { return {kName, weights, scales}; }
  Outputs check() const {
    Checker c{kName};
    if (weights.empty()) c.bad(code::kInvalidArgument, "weights", "must not be empty");
    const Shape& shape = weights[0].shape;
    if (shape.rank() != 2 && !(shape.rank() == 3 && weights.size() == 1))
      c.mismatch(code::kShapeMismatch, "weights", "must be", "matrices [N, K] or one [E, N, K]", shape.str());
    return {sources().check("weights", "scales", Layout::experts)};
  }
};

}  // namespace caracal

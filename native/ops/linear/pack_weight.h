#pragma once
// Rearranges weights into the layout that the matrix kernels of the device read (cpu/gemm_panels.h,
// cuda/packed_weight.h). Done once, at load. On the CPU, the pages of a memory-mapped source are given back as they are
// packed, so that a weight takes up memory only once.
//   packWeight   w [N, K] f32 | bf16 | f8e4m3, or u8 codes [N, K * bits / 8]      output [N, K]
//   packWeights  weights E tensors like w, or one [E, ...]                         output [E, N, K]
//   scale(s)     one per weight. f8e4m3: f32 [ceil(N/128), ceil(K/128)], weight = stored value * scale.
//                u8: f32 | bf16 | f16 [N, K/group], group 32, 64 or 128
//   bias(es)     u8 only, optional: like the scales; weight = scale * code + bias. Without: -2^(bits - 1) * scale
//   bits         u8 only: 2, 3, 4, 5, 6 or 8. A row of codes is one little-endian stream of bits, as MLX stores it
// The output is w's dtype, q4 for up to 4 bits, or q8. A NaN in an f8e4m3 weight is INVALID_ARGUMENT when the operation
// runs.
#include <span>

#include "core/check.h"
#include "core/packed_weight.h"

namespace caracal {

// The sources of a packed weight: matrices of one shape and dtype, as tensors [N, K] or in one tensor [E, N, K].
struct WeightSources {
  const char* op;
  std::span<const Tensor> weights, scales, biases;
  std::optional<int64_t> bits;

  const Tensor& first() const { return weights[0]; }
  bool stacked() const { return first().shape.rank() == 3; }
  bool affine() const { return first().dtype == DType::u8; }
  int64_t matrices() const { return stacked() ? first().shape[0] : static_cast<int64_t>(weights.size()); }
  int64_t n() const { return first().shape[-2]; }
  int64_t k() const { return affine() ? first().shape[-1] * 8 / *bits : first().shape[-1]; }
  DType dtype() const { return !affine() ? first().dtype : *bits <= 4 ? DType::q4 : DType::q8; }
  GroupScales groups() const {
    return affine() ? GroupScales{k() / scales[0].shape[-1], scales[0].dtype} : GroupScales{};
  }

  // The names of the arguments, for messages.
  struct Names {
    const char *weights, *scales, *biases;
  };

  // Returns the output, with a leading dimension of experts for Layout::experts.
  OutputSpec check(const Names& names, Layout layout) const {
    Checker c{op};
    c.dtype(first(), names.weights, {DType::f32, DType::bf16, DType::f8e4m3, DType::u8});
    for (const Tensor& w : weights) {
      c.shape(w, names.weights, first().shape);
      c.dtype(w, names.weights, {first().dtype});
    }
    check_bits(c, names);
    if (dtype() != DType::f32 && dtype() != DType::bf16 && k() == 0)
      c.bad(code::kShapeMismatch, names.weights, "must have at least one column, got " + first().shape.str());
    check_scales(c, names);
    const Shape shape = layout == Layout::experts ? Shape{matrices(), n(), k()} : Shape{n(), k()};
    return {dtype(), shape, layout, packed_bytes(matrices(), n(), k(), dtype(), groups()), 1, groups()};
  }

 private:
  void check_bits(const Checker& c, const Names& names) const {
    if (!affine()) {
      if (bits) c.bad(code::kInvalidArgument, "bits", "must be left out: only u8 weights are codes");
      return;
    }
    if (!bits || *bits < 2 || *bits > 8 || *bits == 7)
      c.mismatch(code::kInvalidArgument, "bits", "must be", "2, 3, 4, 5, 6 or 8 for u8 weights, which are codes",
                 bits ? std::to_string(*bits) : "none");
    if (first().shape[-1] * 8 % *bits != 0)
      c.mismatch(code::kShapeMismatch, names.weights, "must have", "rows of whole codes", first().shape.str());
  }

  void check_scales(const Checker& c, const Names& names) const {
    const bool scaled = affine() || first().dtype == DType::f8e4m3;
    check_count(c, names.scales, scales.size(), scaled ? weights.size() : 0,
                scaled ? "one for each weight" : "only f8e4m3 and u8 weights have scales");
    if (!biases.empty() || !affine())
      check_count(c, names.biases, biases.size(), affine() ? weights.size() : 0,
                  affine() ? "one for each weight, or none" : "only u8 weights have biases");
    if (!scaled) return;
    const int64_t columns =
        affine() ? scales[0].shape.rank() >= 2 ? scales[0].shape[-1] : 0 : divide_up(k(), kScaleBlock);
    Shape shape = first().shape.with_last(columns);
    if (!affine()) shape[-2] = divide_up(n(), kScaleBlock);
    for (const auto& [list, name] : {std::pair{scales, names.scales}, std::pair{biases, names.biases}})
      for (const Tensor& s : list) {
        if (affine())
          c.dtype(s, name, {DType::f32, DType::bf16, DType::f16});
        else
          c.dtype(s, name, {DType::f32});
        c.dtype(s, name, {scales[0].dtype});
        c.shape(s, name, shape);
      }
    if (!affine()) return;
    for (const int64_t group : {32, 64, 128})
      if (columns > 0 && columns * group == k()) return;
    c.mismatch(code::kShapeMismatch, names.scales, "must have",
               "a column for each 32, 64 or 128 of the " + std::to_string(k()) + " elements of a row",
               scales[0].shape.str());
  }

  static void check_count(const Checker& c, const char* name, size_t count, size_t wanted, const std::string& why) {
    if (count == wanted) return;
    c.bad(code::kInvalidArgument, name,
          (wanted == 0 ? "must be left out: " + why
                       : "must be " + std::to_string(wanted) + " (" + why + "), got " + std::to_string(count)));
  }
};

struct PackWeight {
  static constexpr const char* kName = "packWeight";
  Tensor w;
  std::optional<Tensor> scale, bias;
  std::optional<int64_t> bits;
  static constexpr auto kFields = std::tuple{field("w", &PackWeight::w), field("scale", &PackWeight::scale),
                                             field("bias", &PackWeight::bias), field("bits", &PackWeight::bits)};

  WeightSources sources() const {
    const auto span = [](const std::optional<Tensor>& t) {
      return t ? std::span<const Tensor>(&*t, 1) : std::span<const Tensor>();
    };
    return {kName, {&w, 1}, span(scale), span(bias), bits};
  }
  Outputs check() const {
    Checker{kName}.rank(w, "w", 2);
    return {sources().check({"w", "scale", "bias"}, Layout::matrix)};
  }
};

struct PackWeights {
  static constexpr const char* kName = "packWeights";
  std::vector<Tensor> weights, scales, biases;
  std::optional<int64_t> bits;
  static constexpr auto kFields =
      std::tuple{required("weights", &PackWeights::weights), field("scales", &PackWeights::scales),
                 field("biases", &PackWeights::biases), field("bits", &PackWeights::bits)};

  WeightSources sources() const { return {kName, weights, scales, biases, bits}; }
  Outputs check() const {
    Checker c{kName};
    if (weights.empty()) c.bad(code::kInvalidArgument, "weights", "must not be empty");
    const Shape& shape = weights[0].shape;
    if (shape.rank() != 2 && !(shape.rank() == 3 && weights.size() == 1))
      c.mismatch(code::kShapeMismatch, "weights", "must be", "matrices [N, K] or one [E, N, K]", shape.str());
    return {sources().check({"weights", "scales", "biases"}, Layout::experts)};
  }
};

}  // namespace caracal

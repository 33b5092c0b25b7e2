#include "ops/audio/conv_transpose1d.h"

#include <algorithm>

#include "ops/audio/pack_conv.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

template <class T>
void run_tiled(const ConvTranspose1d& op, const Panels& w, Tensor& out, Cpu& cpu) {
  const int64_t outputs = op.w.shape[1];
  Temporary<float> bias(cpu, op.bias ? static_cast<size_t>(w.n) : 0);
  ColumnVector columns;
  if (op.bias) {
    by_activation_type(op.bias->dtype, [&](auto type) {
      const auto* b = op.bias->data<typename decltype(type)::type>();
      for (int64_t i = 0; i < w.n; i++) bias[i] = to_float(b[i % outputs]);
    });
    columns = {bias.data(), DType::f32};
  }
  const LinearEpilogue<T> epilogue{.out = out.data<T>(), .stride = w.n, .bias = columns};
  run_gemm(cpu, make_gemm(op.x.shape[0], rows_of<T>(op.x), w, epilogue, kShortChain));
}

// Adds the products' rows where they overlap. Positions count output rows from the first row of x, before padding is
// cut off. `carry` holds the unfinished sums from position begin·stride on.
struct OverlapAdd {
  int64_t outputs, taps, stride;
  const float* products;  // [end - begin, taps · outputs]
  int64_t begin, end;
  const float* carry;
  int64_t carry_rows;

  // The sum at a position, for the channels [channel, channel + lanes).
  CARACAL_INLINE F32x16 at(int64_t position, int64_t channel, int lanes) const {
    F32x16 sum = zero();
    const int64_t carried = position - begin * stride;
    if (carried < carry_rows) sum = load(carry + carried * outputs + channel, lanes);
    const int64_t behind = position - taps + 1;
    const int64_t first = std::max(begin, behind > 0 ? divide_up(behind, stride) : 0);
    for (int64_t t = first; t < end && t * stride <= position; t++) {
      const float* row = products + ((t - begin) * taps + position - t * stride) * outputs;
      sum += load(row + channel, lanes);
    }
    return sum;
  }

  template <class Emit>
  void row(int64_t position, Emit&& emit) const {
    for (int64_t channel = 0; channel < outputs; channel += 16) {
      const int lanes = static_cast<int>(std::min<int64_t>(16, outputs - channel));
      emit(channel, lanes, at(position, channel, lanes));
    }
  }
};

constexpr int64_t kProductFloats = 1 << 20;  // products of one block of input rows

template <class T>
void run_overlapping(const ConvTranspose1d& op, const Panels& w, Tensor& out, Cpu& cpu) {
  const int64_t outputs = op.w.shape[1], taps = op.w.shape[2], stride = op.stride, rows = op.x.shape[0];
  const int64_t overlap = op.overlap_rows(), cut = op.state ? 0 : op.padding;
  const int64_t block = std::clamp<int64_t>(kProductFloats / std::max<int64_t>(w.n, 1), 1, std::max<int64_t>(rows, 1));
  const size_t carry_floats = static_cast<size_t>(overlap * outputs);
  Temporary<float> products(cpu, static_cast<size_t>(block * w.n));
  Temporary<float> carry(cpu, carry_floats), next(cpu, carry_floats);
  if (op.state)
    std::copy_n(op.state->data<float>(), carry_floats, carry.data());
  else
    std::fill_n(carry.data(), carry_floats, 0.f);

  const LinearEpilogue<T> epilogue{.out = out.data<T>(), .stride = outputs, .bias = column_vector(op.bias)};
  auto write = [&](const OverlapAdd& sums, int64_t from, int64_t to) {
    from = std::max(from, cut);
    to = std::min(to, cut + out.shape[0]);
    for_rows(cpu, std::max<int64_t>(to - from, 0), outputs * (taps / stride + 1), [&](int64_t i) {
      sums.row(from + i,
               [&](int64_t channel, int lanes, F32x16 sum) { epilogue(sum, from + i - cut, channel, lanes); });
    });
  };
  for (int64_t begin = 0; begin < rows; begin += block) {
    const int64_t end = std::min(rows, begin + block);
    const LinearEpilogue<float> product_epilogue{.out = products.data(), .stride = w.n};
    const Rows<T> x{op.x.data<T>() + begin * op.x.shape[1], op.x.shape[1]};
    run_gemm(cpu, make_gemm(end - begin, x, w, product_epilogue, kShortChain));
    const OverlapAdd sums{outputs, taps, stride, products.data(), begin, end, carry.data(), overlap};
    write(sums, begin * stride, end * stride);
    for (int64_t r = 0; r < overlap; r++)
      sums.row(end * stride + r,
               [&](int64_t channel, int lanes, F32x16 sum) { store(next.data() + r * outputs + channel, sum, lanes); });
    std::copy_n(next.data(), carry_floats, carry.data());
  }
  const OverlapAdd tail{outputs, taps, stride, nullptr, rows, rows, carry.data(), overlap};
  write(tail, rows * stride, cut + out.shape[0]);
  if (op.state) std::copy_n(carry.data(), carry_floats, op.state->data<float>());
}

}  // namespace

void run(const ConvTranspose1d& op, std::span<Tensor> out, Cpu& cpu) {
  const PackedConv panels(cpu, op.w, ConvTranspose1d::packed_conv_transpose_bytes(op.w),
                          [&](std::byte* to) { pack_conv_transpose1d(cpu, op.w, to); });
  const Panels w = panels.matrix(op.w.dtype, op.w.shape[1] * op.w.shape[2], op.w.shape[0], 0);
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if (op.tiled())
      run_tiled<T>(op, w, out[0], cpu);
    else
      run_overlapping<T>(op, w, out[0], cpu);
  });
}

}  // namespace caracal::CARACAL_ISA

#include "ops/audio/conv1d.h"

#include <algorithm>

#include "ops/audio/depthwise.cpu.h"
#include "ops/audio/pack_conv.cpu.h"
#include "ops/audio/snake.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

// Out of line and by reference, for the same reasons as `activate` in cpu/gemm_epilogue.h.
[[gnu::noinline]] void apply_snake(const F32x16& alpha, F32x16& x) { x = snake(x, alpha, snake_inverse(alpha)); }

// out[t, o] = residual[t, o] + act(sum + bias[o]) for one group, whose columns begin at `first`.
template <class T>
struct ConvEpilogue {
  T* out;
  const T* residual;
  int64_t stride, first;
  ColumnVector bias, alpha;  // with alpha, Snake is the activation
  Activation activation;

  CARACAL_INLINE void operator()(F32x16 sum, int64_t row, int64_t column, int count) const {
    column += first;
    if (bias) sum += bias.at(column, count);
    if (alpha)
      apply_snake(alpha.at(column, count), sum);
    else if (activation != Activation::none)
      activate(activation, sum);
    if (residual) sum += load(residual + row * stride + column, count);
    store(out + row * stride + column, sum, count);
  }
};

template <class T>
ConvEpilogue<T> epilogue_of(const Conv1d& op, Tensor& out, int64_t first = 0) {
  return {.out = out.data<T>(),
          .residual = op.residual ? op.residual->data<T>() : nullptr,
          .stride = out.shape[1],
          .first = first,
          .bias = column_vector(op.bias),
          .alpha = column_vector(op.snake),
          .activation = op.activation};
}

template <class T>
std::vector<TimeRows<T>> streams_of(const Conv1d& op) {
  std::vector<TimeRows<T>> all;
  for (int64_t i = 0; i < op.streams(); i++) {
    const Conv1d one = op.stream(i);
    all.push_back(time_rows<T>(one.x, one.first_state()));
  }
  return all;
}

// One product per group, whose rows are read through the taps (an implicit im2col).
template <class T>
void run_dense(const Conv1d& op, Tensor& out, Cpu& cpu) {
  const int64_t channels = op.w.shape[1], taps = op.w.shape[2], n = op.w.shape[0] / op.groups;
  const PackedConv panels(cpu, op.w, packed_conv_bytes(op.w.shape, op.groups, op.w.dtype),
                          [&](std::byte* to) { pack_conv1d(cpu, op.w, op.groups, to); });
  const std::vector<TimeRows<T>> streams = streams_of<T>(op);
  const int64_t origin = op.origin(), stride = op.stride, dilation = op.dilation;
  run_gemms(cpu, op.groups, [&](int64_t group) {
    auto tap_row = [x = streams.data(), rows = streams.size() > 1 ? op.stream_rows_out() : 0, origin, stride, dilation,
                    offset = group * channels](int64_t t, int64_t tap) {
      const int64_t i = rows > 0 ? t / rows : 0;
      const T* row = x[i].at(origin + (t - i * rows) * stride + tap * dilation);
      return row ? row + offset : nullptr;
    };
    const Panels w = panels.matrix(op.w.dtype, n, channels * taps, group);
    return make_gemm(out.shape[0], segmented_rows<T>(channels, tap_row), w, epilogue_of<T>(op, out, group * n),
                     kShortChain);
  });
}

template <class T>
void run_depthwise(const Conv1d& op, Tensor out, Cpu& cpu) {
  Taps taps;
  taps.stride = op.stride;
  for (int64_t tap = 0; tap < op.w.shape[2]; tap++) taps.offsets.push_back(op.origin() + tap * op.dilation);
  by_activation_type(op.w.dtype, [&](auto w_type) {
    using W = typename decltype(w_type)::type;
    depthwise(cpu, time_rows<T>(op.x, op.first_state()), op.w.data<W>(), taps, out.shape[0], epilogue_of<T>(op, out));
  });
}

}  // namespace

void run(const Conv1d& op, std::span<Tensor> out, Cpu& cpu) {
  by_activation_type(op.x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if (!op.depthwise() || op.w.packed()) return run_dense<T>(op, out[0], cpu);
    const int64_t rows = op.stream_rows_out();
    for (int64_t i = 0; i < op.streams(); i++) run_depthwise<T>(op.stream(i), rows_of(out[0], i * rows, rows), cpu);
  });
  for (size_t i = 0; i < op.state.size(); i++) advance(op.state[i], op.stream(static_cast<int64_t>(i)).x);
}

}  // namespace caracal::CARACAL_ISA

#include "ops/audio/conv1d.h"

#include "ops/audio/chains.cuda.h"
#include "ops/audio/conv1d.cuda.h"
#include "ops/audio/depthwise.cuda.h"
#include "ops/audio/pack_conv.cuda.h"
#include "ops/audio/streaming.cuda.h"

namespace caracal::cuda {
namespace {

ConvEpilogue epilogue_of(const Conv1d& op, const Tensor& out) {
  const bool aligned =
      vectorizable(out.shape[1] / op.groups, {address(out), address(op.residual), address(op.bias), address(op.snake)});
  return {{.out = address(out),
           .residual = address(op.residual),
           .bias = column_vector(op.bias),
           .gain = {},
           .activation = op.activation,
           .bf16 = out.dtype == DType::bf16,
           .aligned = aligned},
          column_vector(op.snake)};
}

// The sequences [state; x; zeros] of several streams, one after another.
class JoinedStreams {
 public:
  JoinedStreams(Cuda& cuda, const Conv1d& op)
      : op_(op),
        row_bytes_(size_t(op.x.shape[1]) * dtype_bytes(op.x.dtype)),
        rows_(cuda, size_t(op.streams() * length()) * row_bytes_) {
    const int64_t rows = op.stream_rows();
    for (int64_t i = 0; i < op.streams(); i++) {
      cuda.copy(at(i, 0), address(op.state[size_t(i)]), size_t(op.span()) * row_bytes_);
      cuda.copy(at(i, op.span()), op.x.data<std::byte>() + size_t(i * rows) * row_bytes_, size_t(rows) * row_bytes_);
      cuda.clear(at(i, op.span() + rows), size_t(op.pad_right) * row_bytes_);
    }
  }

  ConvRows<void> conv_rows() const {
    const int64_t rows = op_.stream_rows_out();
    return {{rows_.data(), op_.streams() * length(), int(op_.x.shape[1]), nullptr, 0},
            {.origin = op_.first,
             .stride = op_.stride,
             .dilation = op_.dilation,
             .channels = int(op_.w.shape[1]),
             .groups = int(op_.groups),
             .stream_rows = int(rows),
             .stream_skip = length() - rows * op_.stride}};
  }

  // Keeps the last rows of each stream's [state; x] in its state.
  void advance(Cuda& cuda) const {
    for (int64_t i = 0; i < op_.streams(); i++)
      cuda.copy(address(op_.state[size_t(i)]), at(i, op_.stream_rows()), size_t(op_.span()) * row_bytes_);
  }

 private:
  int64_t length() const { return op_.span() + op_.stream_rows() + op_.pad_right; }
  std::byte* at(int64_t stream, int64_t row) const {
    return rows_.data() + size_t(stream * length() + row) * row_bytes_;
  }

  const Conv1d& op_;
  size_t row_bytes_;
  Temporary<std::byte> rows_;
};

void run_dense(Cuda& cuda, const Conv1d& op, const ConvRows<void>& x, const Tensor& out) {
  const int64_t channels = op.w.shape[1], taps = op.w.shape[2];
  const PackedConv w(cuda, op.w, pack_conv1d);
  const GemmOperands p{.x = nullptr,
                       .w = {w.data()},
                       .scales = {},
                       .m = out.shape[0],
                       .n = op.w.shape[0] / op.groups,
                       .k = channels * taps,
                       .aligned = vectorizable(channels, {x.x.x, x.x.state, w.data()})};
  const ConvEpilogue epilogue = epilogue_of(op, out);
  if (p.m == 0 || p.n == 0) return;
  if (!uses_tensor_cores(op.x.dtype, op.w.dtype)) {
    launch_chains(cuda, x, op.x.dtype, op.w.dtype, p, epilogue);
    return;
  }
  const GemmTile tile = conv_tile(p.m, p.n, cuda.gpu.sms);
  const auto blocks = unsigned(op.groups * tile_count(tile, p.m, p.n));
  cuda.launch(entry_of(kConv1d, tile.name, op.x.dtype, op.w.dtype), {{blocks}, tile.threads, tile.shared_bytes}, x, p,
              epilogue);
}

void run_depthwise(Cuda& cuda, const Conv1d& op, const Tensor& out) {
  const std::optional<DepthwisePlan> plan = depthwise_plan(out.shape[0], out.shape[1], op.w.shape[2], op.stride,
                                                           op.span(), op.x.dtype, cuda.gpu.shared_bytes);
  if (!plan) throw too_many_taps(Conv1d::kName, op.w.shape[2]);
  const ConvTaps taps{op.origin(), op.dilation, int(op.w.shape[2])};
  cuda.launch(entry_of(kConv1dDepthwise, op.x.dtype, op.w.dtype),
              {{plan->blocks_x, plan->blocks_y}, kDepthwiseThreads, plan->shared_bytes},
              time_rows(op.x, op.first_state()), address(op.w), taps, int(op.stride), plan->block,
              epilogue_of(op, out));
}

void run_stream(Cuda& cuda, const Conv1d& op, const Tensor& out) {
  if (op.depthwise() && op.w.layout == Layout::rows)
    run_depthwise(cuda, op, out);
  else
    run_dense(cuda, op,
              {time_rows(op.x, op.first_state()),
               {.origin = op.origin(),
                .stride = op.stride,
                .dilation = op.dilation,
                .channels = int(op.w.shape[1]),
                .groups = int(op.groups),
                .stream_rows = 0,
                .stream_skip = 0}},
              out);
  if (!op.state.empty()) advance(cuda, op.state[0], op.x);
}

}  // namespace

void run(const Conv1d& op, std::span<Tensor> out, Cuda& cuda) {
  if (op.streams() == 1) return run_stream(cuda, op, out[0]);
  const int64_t rows = op.stream_rows_out();
  if (op.depthwise() && op.w.layout == Layout::rows) {
    for (int64_t i = 0; i < op.streams(); i++) run_stream(cuda, op.stream(i), rows_of(out[0], i * rows, rows));
    return;
  }
  const JoinedStreams streams(cuda, op);
  run_dense(cuda, op, streams.conv_rows(), out[0]);
  streams.advance(cuda);
}

}  // namespace caracal::cuda

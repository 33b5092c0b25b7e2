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

void run_dense(Cuda& cuda, const Conv1d& op, const Tensor& out) {
  const int64_t channels = op.w.shape[1], taps = op.w.shape[2];
  const PackedConv w(cuda, op.w, pack_conv1d);
  const ConvRows<void> x{time_rows(op.x, op.state),
                         {op.origin(), op.stride, op.dilation, int(channels), int(op.groups)}};
  const GemmOperands p{.x = nullptr,
                       .w = {w.data()},
                       .scales = {},
                       .m = out.shape[0],
                       .n = op.w.shape[0] / op.groups,
                       .k = channels * taps,
                       .aligned = vectorizable(channels, {address(op.x), address(op.state), w.data()})};
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
              {{plan->blocks_x, plan->blocks_y}, kDepthwiseThreads, plan->shared_bytes}, time_rows(op.x, op.state),
              address(op.w), taps, int(op.stride), plan->block, epilogue_of(op, out));
}

}  // namespace

void run(const Conv1d& op, std::span<Tensor> out, Cuda& cuda) {
  if (op.depthwise() && op.w.layout == Layout::rows)
    run_depthwise(cuda, op, out[0]);
  else
    run_dense(cuda, op, out[0]);
  if (op.state) advance(cuda, *op.state, op.x);
}

}  // namespace caracal::cuda

#include "ops/audio/conv1d.h"

#include "cuda/gemm/launch.h"
#include "ops/audio/conv1d.kernels.h"
#include "ops/audio/depthwise.cuda.h"
#include "ops/audio/pack_conv.cuda.h"
#include "ops/audio/time_rows.cuda.h"

namespace caracal::cuda {
namespace {

// How an exact f32 product is made; whichever it is, the bits are the same.
struct ConvPlan {
  GemmTile tile;
  int64_t shares;  // of the depth; with more than one, what they leave is added afterwards
};
ConvPlan conv_plan(int64_t m, int64_t n, int64_t k, int64_t groups, int sms) {
  constexpr GemmTile kSmall = gemm_tile(kConvSmall), kLarge = gemm_tile(kConvLarge);
  if (m > kSmall.rows && worth(kLarge, m, n * groups, sms)) return {kLarge, 1};
  constexpr int64_t kMostBlocks = 65535;  // of a grid's y
  const int64_t shares = (k + kConvShare - 1) / kConvShare;
  const bool idle = groups == 1 && tile_count(kSmall, m, n) < 2 * sms && shares <= kMostBlocks;
  return {kSmall, idle ? std::max<int64_t>(shares, 1) : 1};
}

ConvEpilogue epilogue_of(const Conv1d& op, const Tensor& out) {
  const bool aligned =
      vectors(out.shape[1] / op.groups, {address(out), address(op.residual), address(op.bias), address(op.snake)});
  return {{.out = address(out),
           .residual = address(op.residual),
           .bias = column_vector(op.bias),
           .gain = {},
           .activation = op.activation,
           .bf16 = out.dtype == DType::bf16,
           .aligned = aligned},
          column_vector(op.snake)};
}

void run_exact(Cuda& cuda, const Conv1d& op, const ConvRows<void>& x, const GemmOperands& p,
               const ConvEpilogue& epilogue) {
  const ConvPlan plan = conv_plan(p.m, p.n, p.k, op.groups, cuda.gpu.sms);
  const auto tiles = static_cast<unsigned>(op.groups * tile_count(plan.tile, p.m, p.n));
  if (plan.shares == 1) {
    cuda.launch(entry_of(kConv1d, plan.tile.name, op.x.dtype, op.w.dtype), {{tiles}, plan.tile.threads}, x, p,
                epilogue);
    return;
  }
  const int64_t count = (p.k + kConvChain - 1) / kConvChain;
  Cuda::Temporary<float> chains(cuda, static_cast<size_t>(count * p.m * p.n));
  cuda.launch(entry_of(kConv1dShare, op.x.dtype, op.w.dtype), {{tiles, unsigned(plan.shares)}, plan.tile.threads}, x, p,
              chains.data());
  const ElementBlocks blocks = element_blocks(p.m * p.n, !epilogue.linear.aligned ? 1 : epilogue.linear.bf16 ? 8 : 4);
  cuda.launch(entry_of(kConv1dAdd), {blocks.grid, blocks.threads}, chains.data(), int(count), p.m, p.n, epilogue);
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
                       .aligned = vectors(channels, {address(op.x), address(op.state), w.data()})};
  const ConvEpilogue epilogue = epilogue_of(op, out);
  if (p.m == 0 || p.n == 0) return;
  if (op.x.dtype != DType::bf16 || op.w.dtype != DType::bf16) return run_exact(cuda, op, x, p, epilogue);
  const GemmTile tile = conv_tile(p.m, p.n, cuda.gpu.sms);
  const auto blocks = static_cast<unsigned>(op.groups * tile_count(tile, p.m, p.n));
  cuda.launch(entry_of(kConv1d, tile.name, op.x.dtype, op.w.dtype), {{blocks}, tile.threads, tile.shared_bytes}, x, p,
              epilogue);
}

void run_depthwise(Cuda& cuda, const Conv1d& op, const Tensor& out) {
  const DepthwiseLaunch launch = depthwise_launch(Conv1d::kName, out.shape[0], out.shape[1], op.w.shape[2], op.stride,
                                                  op.span(), op.x.dtype, cuda.gpu.shared_bytes);
  cuda.launch(entry_of(kConv1dDepthwise, op.x.dtype, op.w.dtype), {launch.grid, launch.threads, launch.shared_bytes},
              time_rows(op.x, op.state), address(op.w), ConvTaps{op.origin(), op.dilation, int(op.w.shape[2])},
              int(op.stride), launch.block, epilogue_of(op, out));
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

#pragma once
// Launches of exact products whose sums are short chains, which the layers of the speech decoder need: they magnify what
// the layers before them lost to rounding.
#include "cuda/gemm/launch.h"
#include "ops/audio/conv1d.cuda.h"
#include "ops/linear/linear.kernels.h"

namespace caracal::cuda {

// A product per group, whose rows are read through the taps of a convolution.
inline void launch_chains(Cuda& cuda, const ConvRows<void>& x, DType x_dtype, DType w_dtype, const GemmOperands& p,
                          const ConvEpilogue& epilogue) {
  const ConvPlan plan = conv_plan(p.m, p.n, p.k, x.g.groups, cuda.gpu.sms);
  const auto tiles = unsigned(x.g.groups * tile_count(plan.tile, p.m, p.n));
  if (plan.shares == 1) {
    cuda.launch(entry_of(kConv1d, plan.tile.name, x_dtype, w_dtype), {{tiles}, plan.tile.threads}, x, p, epilogue);
    return;
  }
  const int64_t count = divide_up(p.k, kConvChain);
  Temporary<float> chains(cuda, size_t(count * p.m * p.n));
  cuda.launch(entry_of(kConv1dShare, x_dtype, w_dtype), {{tiles, unsigned(plan.shares)}, plan.tile.threads}, x, p,
              chains.data());
  const ElementBlocks blocks = element_blocks(p.m * p.n, !epilogue.linear.aligned ? 1 : epilogue.linear.bf16 ? 8 : 4);
  cuda.launch(entry_of(kConv1dAdd), {blocks.grid, blocks.threads}, chains.data(), int(count), p.m, p.n, epilogue);
}

// A product of plain rows, p.x: a convolution with one tap. bf16 by bf16 has no chains.
inline void launch_rows(Cuda& cuda, DType x_dtype, DType w_dtype, const GemmOperands& p,
                        const LinearEpilogue& epilogue) {
  if (p.m == 0 || p.n == 0) return;
  if (uses_tensor_cores(x_dtype, w_dtype)) return launch_gemm(cuda, kLinear, p, x_dtype, w_dtype, 1, epilogue);
  const ConvRows<void> x{
      {p.x, p.m, int(p.k), nullptr, 0},
      {.origin = 0, .stride = 1, .dilation = 1, .channels = int(p.k), .groups = 1, .stream_rows = 0, .stream_skip = 0}};
  launch_chains(cuda, x, x_dtype, w_dtype, p, {epilogue, {}});
}

}  // namespace caracal::cuda

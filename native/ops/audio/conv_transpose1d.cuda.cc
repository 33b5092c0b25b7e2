#include "ops/audio/conv_transpose1d.h"

#include "ops/audio/chains.cuda.h"
#include "ops/audio/conv_transpose1d.cuda.h"
#include "ops/audio/conv_transpose1d.kernels.h"
#include "ops/audio/pack_conv.cuda.h"

namespace caracal::cuda {
namespace {

LinearEpilogue bias_epilogue(void* out, DType dtype, const ColumnVector& bias, bool aligned) {
  return {.out = out,
          .residual = nullptr,
          .bias = bias,
          .gain = {},
          .activation = Activation::none,
          .bf16 = dtype == DType::bf16,
          .aligned = aligned};
}

// Multiplies `rows` rows of x, from `first` on, by the packed weight [k · Cout, Cin].
void multiply(Cuda& cuda, const ConvTranspose1d& op, const std::byte* w, int64_t first, int64_t rows,
              const LinearEpilogue& epilogue) {
  const int64_t channels = op.x.shape[1];
  const std::byte* x = op.x.data<std::byte>() + size_t(first * channels) * dtype_bytes(op.x.dtype);
  const GemmOperands p{.x = x,
                       .w = {w},
                       .scales = {},
                       .m = rows,
                       .n = op.w.shape[1] * op.w.shape[2],
                       .k = channels,
                       .aligned = vectorizable(channels, {x, w})};
  launch_rows(cuda, op.x.dtype, op.w.dtype, p, epilogue);
}

void run_tiled(Cuda& cuda, const ConvTranspose1d& op, const std::byte* w, const Tensor& out) {
  const long long outputs = op.w.shape[1], n = outputs * op.w.shape[2];
  Temporary<float> bias(cuda, op.bias ? size_t(n) : 0);
  if (op.bias) {
    const ElementBlocks blocks = element_blocks(n, 1);
    cuda.launch(entry_of(kRepeatBias, op.bias->dtype), {blocks.grid, blocks.threads}, address(op.bias), bias.data(), n,
                int(outputs));
  }
  multiply(cuda, op, w, 0, op.x.shape[0],
           bias_epilogue(address(out), out.dtype, {bias.data(), false}, vectorizable(n, {address(out)})));
}

void run_overlapping(Cuda& cuda, const ConvTranspose1d& op, const std::byte* w, const Tensor& out) {
  const int64_t outputs = op.w.shape[1], taps = op.w.shape[2], stride = op.stride, n = taps * outputs;
  const int64_t rows = op.x.shape[0], overlap = op.overlap_rows(), cut = op.state ? 0 : op.padding;
  const auto [block, reach] = overlap_blocks(rows, n, taps, stride);
  Temporary<float> products(cuda, size_t(std::min(block + reach, rows) * n));
  Temporary<float> next(cuda, op.state ? size_t(overlap * outputs) : 0);
  const float* carry = op.state ? op.state->data<float>() : nullptr;
  OverlapAdd sums{products.data(), 0, 0, carry, overlap, taps, stride, int(outputs)};
  const LinearEpilogue epilogue = bias_epilogue(address(out), out.dtype, column_vector(op.bias),
                                                vectorizable(outputs, {address(out), address(op.bias), carry}));
  const LinearEpilogue product_epilogue =
      bias_epilogue(products.data(), DType::f32, {}, vectorizable(n, {products.data()}));
  auto add_overlapping = [&](int64_t from, int64_t to) {  // positions
    from = std::max(from, cut);
    const long long count = std::max<int64_t>(std::min(to, cut + out.shape[0]) - from, 0);
    const ElementBlocks blocks = element_blocks(count * outputs, !epilogue.aligned ? 1 : epilogue.bf16 ? 8 : 4);
    cuda.launch(entry_of(kOverlapAdd), {blocks.grid, blocks.threads}, sums, from, from - cut, count, epilogue);
  };
  for (int64_t begin = 0; begin < rows; begin += block) {
    sums.begin = std::max<int64_t>(begin - reach, 0);
    sums.end = std::min(begin + block, rows);
    multiply(cuda, op, w, sums.begin, sums.end - sums.begin, product_epilogue);
    add_overlapping(begin * stride, sums.end * stride);
  }
  add_overlapping(rows * stride, cut + out.shape[0]);
  if (!op.state) return;
  const bool aligned = vectorizable(outputs, {carry}, 4);
  const ElementBlocks blocks = element_blocks(overlap * outputs, aligned ? 4 : 1);
  cuda.launch(entry_of(kOverlapCarry), {blocks.grid, blocks.threads}, sums, rows * stride, next.data(), aligned);
  cuda.copy(op.state->data<float>(), next.data(), op.state->bytes());
}

}  // namespace

void run(const ConvTranspose1d& op, std::span<Tensor> out, Cuda& cuda) {
  const PackedConv w(cuda, op.w, pack_conv_transpose1d);
  if (op.tiled())
    run_tiled(cuda, op, w.data(), out[0]);
  else
    run_overlapping(cuda, op, w.data(), out[0]);
}

}  // namespace caracal::cuda

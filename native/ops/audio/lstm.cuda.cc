#include "ops/audio/lstm.h"

#include "cuda/gemm/launch.h"
#include "ops/audio/lstm.kernels.h"
#include "ops/linear/linear.kernels.h"

namespace caracal::cuda {
namespace {

constexpr int64_t kStepsAtOnce = 1024;  // whose input halves wait in memory

// How the hidden units are shared out.
struct LstmShape {
  int units;  // of a block
  int kept;   // of those, how many have their weights in shared memory
  unsigned blocks, threads;
  size_t shared_bytes;
};

// A step alone has blocks in plenty, to keep the memory busy. More steps have one per multiprocessor, so that all are
// there at once and have all of the shared memory.
LstmShape lstm_shape(int64_t hidden, bool together, DType w, const GpuProperties& gpu) {
  constexpr int64_t kFewUnits = 4, kLeastUnits = 8, kMostWarps = kLstmMostThreads / 32;
  const int64_t units = together ? std::max((hidden + gpu.sms - 1) / gpu.sms, kLeastUnits) : kFewUnits;
  const int64_t turns = (units + kMostWarps - 1) / kMostWarps, warps = (units + turns - 1) / turns;
  const size_t row = static_cast<size_t>(hidden) * dtype_bytes(w);
  const size_t fixed = static_cast<size_t>((hidden + 3) / 4 * 4 + 4 * units) * sizeof(float);
  if (fixed > gpu.shared_bytes)
    throw Error(code::kUnsupported, "lstm: a GPU's shared memory has no room for " + std::to_string(hidden) +
                                        " hidden units; use a CPU device");
  const int64_t room = static_cast<int64_t>((gpu.shared_bytes - fixed) / (4 * row));
  const int64_t kept = together ? std::min(units, room) : 0;
  return {int(units), int(kept), unsigned((hidden + units - 1) / units),
          unsigned(std::max(warps, (units + 31) / 32) * 32), fixed + static_cast<size_t>(kept) * 4 * row};
}

// `steps` rows of x from `first` on.
void input_half(Cuda& cuda, const Lstm& op, int64_t first, int64_t steps, float* out) {
  const int64_t inputs = op.x.shape[1], n = op.w_ih.shape[0];
  GemmOperands p = gemm_operands(op.x, {&op.w_ih}, steps);
  p.x = op.x.data<std::byte>() + static_cast<size_t>(first * inputs) * dtype_bytes(op.x.dtype);
  p.aligned = p.aligned && vectors(0, {p.x});
  const LinearEpilogue epilogue{.out = out,
                                .residual = nullptr,
                                .bias = column_vector(op.b_ih),
                                .gain = {},
                                .activation = Activation::none,
                                .bf16 = false,
                                .aligned = vectors(n, {out, address(op.b_ih)})};
  launch_gemm(cuda, kLinear, p, op.x.dtype, op.w_ih.dtype, 1, epilogue);
}

void recurrent_half(Cuda& cuda, const Lstm& op, LstmSteps steps) {
  const bool together = steps.steps > 1;
  const LstmShape shape = lstm_shape(steps.hidden, together, op.w_hh.dtype, cuda.gpu);
  steps.units = shape.units;
  steps.kept = shape.kept;
  if (together) cuda.clear(steps.arrived, sizeof *steps.arrived);
  cuda.launch(entry_of(kLstm, op.x.dtype, op.w_hh.dtype), {{shape.blocks}, shape.threads, shape.shared_bytes, together},
              steps);
}

}  // namespace

void run(const Lstm& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t total = op.x.shape[0], hidden = op.w_hh.shape[1], most = std::min(total, kStepsAtOnce);
  if (total == 0 || hidden == 0) return;
  Cuda::Temporary<float> input(cuda, static_cast<size_t>(most * 4 * hidden));
  Cuda::Temporary<float> even(cuda, static_cast<size_t>(hidden)), odd(cuda, static_cast<size_t>(hidden));
  Cuda::Temporary<unsigned> arrived(cuda, 1);
  const WeightMatrix w = weight_matrix(op.w_hh);
  for (int64_t first = 0; first < total; first += most) {
    const int64_t steps = std::min(most, total - first);
    input_half(cuda, op, first, steps, input.data());
    cuda.copy(even.data(), address(op.h), op.h.bytes());  // blocks are still reading it when others write what follows
    recurrent_half(cuda, op,
                   {.input = input.data(),
                    .w = w.data,
                    .b_hh = column_vector(op.b_hh),
                    .h = {even.data(), odd.data()},
                    .h_end = op.h.data<float>(),
                    .c = op.c.data<float>(),
                    .y = out[0].data<std::byte>() + static_cast<size_t>(first * hidden) * dtype_bytes(out[0].dtype),
                    .arrived = arrived.data(),
                    .hidden = int(hidden),
                    .steps = int(steps),
                    .units = 0,
                    .kept = 0,
                    .aligned = vectors(hidden, {w.data})});
  }
}

}  // namespace caracal::cuda

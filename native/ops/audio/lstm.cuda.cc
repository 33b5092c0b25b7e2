#include "ops/audio/lstm.h"

#include "ops/audio/chains.cuda.h"
#include "ops/audio/lstm.cuda.h"

namespace caracal::cuda {
namespace {

// out = x · wIh^T + bIh for `steps` rows of x, from `first` on.
void input_half(Cuda& cuda, const Lstm& op, int64_t first, int64_t steps, float* out) {
  const int64_t inputs = op.x.shape[1], n = op.w_ih.shape[0];
  GemmOperands p = gemm_operands(op.x, {&op.w_ih}, steps);
  p.x = op.x.data<std::byte>() + size_t(first * inputs) * dtype_bytes(op.x.dtype);
  p.aligned = p.aligned && vectorizable(0, {p.x});
  const LinearEpilogue epilogue{.out = out,
                                .residual = nullptr,
                                .bias = column_vector(op.b_ih),
                                .gain = {},
                                .activation = Activation::none,
                                .bf16 = false,
                                .aligned = vectorizable(n, {out, address(op.b_ih)})};
  launch_rows(cuda, op.x.dtype, op.w_ih.dtype, p, epilogue);
}

void recurrent_half(Cuda& cuda, const Lstm& op, LstmSteps steps) {
  const bool several = steps.steps > 1;
  const std::optional<LstmPlan> plan =
      lstm_plan(steps.hidden, several, op.w_hh.dtype, cuda.gpu.sms, cuda.gpu.shared_bytes);
  if (!plan)
    throw Error(code::kUnsupported, "lstm: " + std::to_string(steps.hidden) +
                                        " hidden units do not fit into a GPU's shared memory; use a CPU device");
  steps.units = plan->units;
  steps.cached_units = plan->cached_units;
  if (several) cuda.clear(steps.arrived, sizeof *steps.arrived);
  cuda.launch(entry_of(kLstm, op.x.dtype, op.w_hh.dtype), {{plan->blocks}, plan->threads, plan->shared_bytes, several},
              steps);
}

}  // namespace

void run(const Lstm& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t total = op.x.shape[0], hidden = op.w_hh.shape[1];
  if (total == 0 || hidden == 0) return;
  const int64_t chunk = lstm_steps_together(total, hidden, cuda.gpu.sms);
  Temporary<float> input(cuda, size_t(chunk * 4 * hidden));
  Temporary<float> h_even(cuda, size_t(hidden)), h_odd(cuda, size_t(hidden));
  Temporary<unsigned> arrived(cuda, 1);
  const WeightMatrix w = weight_matrix(op.w_hh);
  for (int64_t first = 0; first < total; first += chunk) {
    const int64_t steps = std::min(chunk, total - first);
    input_half(cuda, op, first, steps, input.data());
    cuda.copy(h_even.data(), address(op.h), op.h.bytes());  // a block may write h_end while another still reads h
    recurrent_half(cuda, op,
                   {.input = input.data(),
                    .w = w.data,
                    .b_hh = column_vector(op.b_hh),
                    .h = {h_even.data(), h_odd.data()},
                    .h_end = op.h.data<float>(),
                    .c = op.c.data<float>(),
                    .y = out[0].data<std::byte>() + size_t(first * hidden) * dtype_bytes(out[0].dtype),
                    .arrived = arrived.data(),
                    .hidden = int(hidden),
                    .steps = int(steps),
                    .units = 0,
                    .cached_units = 0,
                    .aligned = vectorizable(hidden, {w.data})});
  }
}

}  // namespace caracal::cuda

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

void recurrent_half(Cuda& cuda, const Kernel<LstmSteps>& kernel, const Lstm& op, LstmSteps steps) {
  const bool several = kernel.name == kLstm.name && steps.steps > 1;
  const std::optional<LstmPlan> plan =
      lstm_plan(steps.hidden, several, op.w_hh.dtype, cuda.gpu.sms, cuda.gpu.shared_bytes);
  if (!plan)
    throw Error(code::kUnsupported, "lstm: " + std::to_string(steps.hidden) +
                                        " hidden units do not fit into a GPU's shared memory; use a CPU device");
  steps.units = plan->units;
  steps.cached_units = plan->cached_units;
  if (several) cuda.clear(steps.arrived, sizeof *steps.arrived);
  cuda.launch(entry_of(kernel, op.x.dtype, op.w_hh.dtype), {{plan->blocks}, plan->threads, plan->shared_bytes, several},
              steps);
}

// What the steps of one stream and a step of several have in common.
LstmSteps steps_of(const Lstm& op, const float* input, int64_t steps, std::byte* y) {
  const WeightMatrix w = weight_matrix(op.w_hh);
  const int64_t hidden = op.w_hh.shape[1];
  return {.input = input,
          .w = w.data,
          .b_hh = column_vector(op.b_hh),
          .h = {},
          .h_end = nullptr,
          .c = nullptr,
          .y = y,
          .arrived = nullptr,
          .hidden = int(hidden),
          .steps = int(steps),
          .units = 0,
          .cached_units = 0,
          .aligned = vectorizable(hidden, {w.data})};
}

void run_stream(Cuda& cuda, const Lstm& op, const Tensor& out) {
  const int64_t total = op.x.shape[0], hidden = op.w_hh.shape[1];
  const int64_t chunk = lstm_steps_together(total, hidden, cuda.gpu.sms);
  Temporary<float> input(cuda, size_t(chunk * 4 * hidden));
  Temporary<float> h_even(cuda, size_t(hidden)), h_odd(cuda, size_t(hidden));
  Temporary<unsigned> arrived(cuda, 1);
  for (int64_t first = 0; first < total; first += chunk) {
    const int64_t count = std::min(chunk, total - first);
    input_half(cuda, op, first, count, input.data());
    cuda.copy(h_even.data(), address(op.h[0]), op.h[0].bytes());  // a block may write h_end while another still reads h
    LstmSteps steps =
        steps_of(op, input.data(), count, out.data<std::byte>() + size_t(first * hidden) * dtype_bytes(out.dtype));
    steps.h[0] = h_even.data();
    steps.h[1] = h_odd.data();
    steps.h_end = op.h[0].data<float>();
    steps.c = op.c[0].data<float>();
    steps.arrived = arrived.data();
    recurrent_half(cuda, kLstm, op, steps);
  }
}

void run_step_of_streams(Cuda& cuda, const Lstm& op, const Tensor& out) {
  const int64_t streams = op.streams(), hidden = op.w_hh.shape[1];
  Temporary<float> input(cuda, size_t(streams * 4 * hidden));
  input_half(cuda, op, 0, streams, input.data());
  const size_t bytes = op.h[0].bytes();
  Temporary<float> h(cuda, size_t(streams * hidden)), h_end(cuda, size_t(streams * hidden)),
      c(cuda, size_t(streams * hidden));
  for (int64_t i = 0; i < streams; i++) {
    cuda.copy(h.data() + i * hidden, address(op.h[size_t(i)]), bytes);
    cuda.copy(c.data() + i * hidden, address(op.c[size_t(i)]), bytes);
  }
  LstmSteps steps = steps_of(op, input.data(), streams, out.data<std::byte>());
  steps.h[0] = h.data();
  steps.h_end = h_end.data();
  steps.c = c.data();
  recurrent_half(cuda, kLstmStreams, op, steps);
  for (int64_t i = 0; i < streams; i++) {
    cuda.copy(address(op.h[size_t(i)]), h_end.data() + i * hidden, bytes);
    cuda.copy(address(op.c[size_t(i)]), c.data() + i * hidden, bytes);
  }
}

}  // namespace

void run(const Lstm& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t streams = op.streams(), rows = op.stream_rows();
  if (rows == 0 || op.w_hh.shape[1] == 0) return;
  if (streams > 1 && rows == 1) return run_step_of_streams(cuda, op, out[0]);
  // The launch of a stream's steps keeps its weights in shared memory, so more steps gain nothing from other streams.
  for (int64_t i = 0; i < streams; i++) run_stream(cuda, op.stream(i), rows_of(out[0], i * rows, rows));
}

}  // namespace caracal::cuda

#include "ops/machine/machine_peaks.h"

#include "cuda/implement.h"
#include "ops/machine/machine_peaks.kernels.h"

namespace caracal::cuda {
namespace {

// The milliseconds of the fastest of a few launches.
template <class Launch>
double best_of(Cuda& cuda, Launch&& launch) {
  double best = cuda.milliseconds(launch);
  for (int repeat = 0; repeat < 3; repeat++) best = std::min(best, cuda.milliseconds(launch));
  return best;
}

// Steps per millisecond of a loop, made long enough for the launch overhead to be negligible.
template <class Launch>
double rate(Cuda& cuda, Launch&& launch) {
  int steps = 16;
  cuda.milliseconds([&] { launch(steps); });  // untimed, since the first launch loads the kernel
  while (cuda.milliseconds([&] { launch(steps); }) < 0.5 && steps < 1 << 24) steps *= 2;
  return steps / best_of(cuda, [&] { launch(steps); });
}

}  // namespace

void run(const MachinePeaks& op, std::span<Tensor> out, Cuda& cuda) {
  const Launch launch{{unsigned(cuda.gpu.sms) * 8}, kPeakThreads};
  const double threads = double(launch.grid.x) * kPeakThreads;
  Temporary<float> unwritten(cuda, 1);
  const double fma = rate(cuda, [&](int steps) { cuda.launch(entry_of(kPeakFma), launch, steps, unwritten.data()); });
  const double matrix =
      rate(cuda, [&](int steps) { cuda.launch(entry_of(kPeakMatrix), launch, steps, unwritten.data()); });
  const long long vectors = op.buffer.shape.elements() / 4;
  const double reading =
      best_of(cuda, [&] { cuda.launch(entry_of(kPeakRead), launch, address(op.buffer), vectors, unwritten.data()); });
  auto giga = [](double per_ms) { return float(per_ms / 1e6); };
  cuda.launch(entry_of(kPeakResults), {{}, 1}, giga(2.0 * kPeakChains * threads * fma),
              giga(2.0 * kPeakChains * (threads / 32) * (16 * 16 * 8) * matrix), giga(16.0 * double(vectors) / reading),
              out[0].data<float>());
}

}  // namespace caracal::cuda

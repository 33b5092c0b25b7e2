#include "ops/linear/pack_weight.h"

#include "cuda/implement.h"
#include "cuda/packed_weight.h"
#include "ops/linear/pack_weight.kernels.h"

namespace caracal::cuda {

void run(const PackWeight& op, std::span<Tensor> out, Cuda& cuda) {
  const Tensor& first = op.weights[0];
  const int64_t n = first.shape[-2], k = first.shape[-1], matrices = op.matrices();
  std::byte* to = out[0].data<std::byte>();
  if (first.dtype != DType::f8e4m3) {
    for (const Tensor& w : op.weights) {
      cuda.copy(to, address(w), w.bytes());
      to += w.bytes();
    }
    return;
  }
  Fault* fault = cuda.fault([n, k](const Fault& f) { return nan_weight_error(f.position / k % n, f.position % k); });
  for (const Tensor& w : op.weights) {
    constexpr int64_t kThreads = 256;
    const int64_t bytes = w.shape.elements();
    const bool aligned = bytes % 16 == 0 && vectorizable(0, {address(w), to});
    const int64_t items = aligned ? bytes / 16 : bytes;
    cuda.launch(entry_of(kPackF8e4m3), {{unsigned(divide_up(items, kThreads))}, kThreads}, address(w), to, bytes,
                aligned, fault);
    to += bytes;
  }
  to = out[0].data<std::byte>() + scales_offset(matrices, n, k, first.dtype);
  for (const Tensor& s : op.scales) {
    cuda.copy(to, address(s), s.bytes());
    to += s.bytes();
  }
}

}  // namespace caracal::cuda

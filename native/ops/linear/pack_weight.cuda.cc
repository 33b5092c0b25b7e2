#include "ops/linear/pack_weight.h"

#include "cuda/implement.h"
#include "cuda/packed_weight.h"
#include "ops/linear/pack_weight.kernels.h"

namespace caracal::cuda {
namespace {

void pack(const WeightSources& from, const Tensor& out, Cuda& cuda) {
  const Tensor& first = from.first();
  const int64_t n = first.shape[-2], k = first.shape[-1], matrices = from.matrices();
  std::byte* to = out.data<std::byte>();
  if (from.affine())
    throw Error(code::kUnsupported, std::string(from.op) + ": codes cannot be packed for CUDA yet",
                {{"operation", from.op}});
  if (first.dtype != DType::f8e4m3) {
    for (const Tensor& w : from.weights) {
      cuda.copy(to, address(w), w.bytes());
      to += w.bytes();
    }
    return;
  }
  Fault* fault = cuda.fault(
      [n, k, op = from.op](const Fault& f) { return nan_weight_error(op, f.position / k % n, f.position % k); });
  for (const Tensor& w : from.weights) {
    constexpr int64_t kThreads = 256;
    const int64_t bytes = w.shape.elements();
    const bool aligned = bytes % 16 == 0 && vectorizable(0, {address(w), to});
    const int64_t items = aligned ? bytes / 16 : bytes;
    cuda.launch(entry_of(kPackF8e4m3), {{unsigned(divide_up(items, kThreads))}, kThreads}, address(w), to, bytes,
                aligned, fault);
    to += bytes;
  }
  to = out.data<std::byte>() + scales_offset(matrices, n, k, first.dtype);
  for (const Tensor& s : from.scales) {
    cuda.copy(to, address(s), s.bytes());
    to += s.bytes();
  }
}

}  // namespace

void run(const PackWeight& op, std::span<Tensor> out, Cuda& cuda) { pack(op.sources(), out[0], cuda); }
void run(const PackWeights& op, std::span<Tensor> out, Cuda& cuda) { pack(op.sources(), out[0], cuda); }

}  // namespace caracal::cuda

#include "ops/linear/pack_weight.h"

#include "cuda/implement.h"
#include "cuda/packed_weight.h"
#include "ops/linear/pack_weight.kernels.h"

namespace caracal::cuda {
namespace {

constexpr int64_t kThreads = 256;

Launch blocks_of(int64_t threads) { return {{unsigned(divide_up(threads, kThreads))}, kThreads}; }

// Copies the weights, one after the other.
void copy_weights(std::span<const Tensor> from, std::byte* to, Cuda& cuda) {
  for (const Tensor& t : from) {
    cuda.copy(to, address(t), t.bytes());
    to += t.bytes();
  }
}

void copy_f8e4m3(const WeightSources& from, std::byte* to, Cuda& cuda) {
  Fault* fault = cuda.fault([n = from.n(), k = from.k(), op = from.op](const Fault& f) {
    return nan_weight_error(op, f.position / k % n, f.position % k);
  });
  for (const Tensor& w : from.weights) {
    const int64_t bytes = w.shape.elements();
    const bool aligned = bytes % 16 == 0 && vectorizable(0, {address(w), to});
    cuda.launch(entry_of(kPackF8e4m3), blocks_of(aligned ? bytes / 16 : bytes), address(w), to, bytes, aligned, fault);
    to += bytes;
  }
}

// The tensors of `from` hold one matrix each, or one all.
void pack_codes(const WeightSources& from, const Tensor& out, Cuda& cuda) {
  const int64_t n = from.n(), k = from.k(), stacked = from.stacked() ? from.matrices() : 1,
                octets = stacked * n * k / 8;
  std::byte* to = out.data<std::byte>();
  for (const Tensor& w : from.weights) {
    cuda.launch(entry_of(kPackCodes, out.dtype), blocks_of(octets), address(w), to, octets, int(*from.bits));
    to += size_t(stacked) * matrix_bytes(n, k, out.dtype);
  }
}

void pack_pairs(const WeightSources& from, const Tensor& out, Cuda& cuda) {
  const GroupPairs layout = group_pairs(from.n(), out.scales);
  const int64_t groups = from.k() / out.scales.group,
                matrix = from.n() * groups * int64_t(dtype_bytes(out.scales.dtype));
  auto matrix_of = [&](std::span<const Tensor> list, int64_t e) -> const std::byte* {
    if (list.empty()) return nullptr;
    return from.stacked() ? list[0].data<std::byte>() + e * matrix : list[size_t(e)].data<std::byte>();
  };
  std::byte* to = out.data<std::byte>() + scales_offset(from.matrices(), from.n(), from.k(), out.dtype);
  for (int64_t e = 0; e < from.matrices(); e++) {
    const PairSources sources{.scales = matrix_of(from.scales, e),
                              .biases = matrix_of(from.biases, e),
                              .pairs = to,
                              .n = from.n(),
                              .columns = layout.columns,
                              .groups = groups,
                              .bias_factor = -float(1 << (*from.bits - 1))};
    cuda.launch(entry_of(kPackPairs, out.scales.dtype), blocks_of(groups * layout.columns), sources);
    to += groups * layout.group_bytes();
  }
}

void pack(const WeightSources& from, const Tensor& out, Cuda& cuda) {
  std::byte* to = out.data<std::byte>();
  if (from.affine()) {
    pack_codes(from, out, cuda);
    pack_pairs(from, out, cuda);
  } else if (out.dtype == DType::f8e4m3) {
    copy_f8e4m3(from, to, cuda);
    copy_weights(from.scales, to + scales_offset(from.matrices(), from.n(), from.k(), out.dtype), cuda);
  } else {
    copy_weights(from.weights, to, cuda);
  }
}

}  // namespace

void run(const PackWeight& op, std::span<Tensor> out, Cuda& cuda) { pack(op.sources(), out[0], cuda); }
void run(const PackWeights& op, std::span<Tensor> out, Cuda& cuda) { pack(op.sources(), out[0], cuda); }

}  // namespace caracal::cuda

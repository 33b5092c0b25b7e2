#include "ops/norm/rms_norm.h"

#include "cuda/implement.h"
#include "ops/norm/rms_norm.kernels.h"

namespace caracal::cuda {
namespace {

// `residual` may be null; otherwise out[1] receives the sums.
void normalise(const RmsNorm& op, const Tensor* residual, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.x.shape[-1];
  const void* added = residual ? address(*residual) : nullptr;
  void* h = residual ? address(out[1]) : nullptr;
  const RowBlocks blocks = row_blocks(op.x.dtype, n, {address(op.x), added, address(op.weight), address(out[0]), h});
  cuda.launch(entry_of(kRmsNorm, op.x.dtype, op.weight.dtype),
              {{unsigned(op.x.shape.rows())}, blocks.threads, blocks.shared_bytes}, address(op.x), added,
              address(op.weight), address(out[0]), h, int(n), float(op.eps), blocks.aligned, blocks.shared_bytes > 0);
}

}  // namespace

void run(const RmsNorm& op, std::span<Tensor> out, Cuda& cuda) { normalise(op, nullptr, out, cuda); }
void run(const AddRmsNorm& op, std::span<Tensor> out, Cuda& cuda) { normalise(op.norm(), &op.residual, out, cuda); }

}  // namespace caracal::cuda

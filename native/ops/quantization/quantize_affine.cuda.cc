#include "ops/quantization/quantize_affine.h"

#include "cuda/implement.h"
#include "ops/quantization/quantize_affine.kernels.h"

namespace caracal::cuda {

void run(const QuantizeAffine& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t k = op.w.shape[1], groups = out[1].shape.elements();
  Fault* fault =
      cuda.fault([k](const Fault& f) { return weight_error(QuantizeAffine::kName, f.position / k, f.position % k); });
  cuda.launch(entry_of(kQuantizeAffine, op.w.dtype),
              {{unsigned(divide_up(groups, kQuantizeWarps))}, kQuantizeWarps * 32}, address(op.w),
              out[0].data<unsigned>(), address(out[1]), address(out[2]), groups, int(op.group), int(op.bits), fault);
}

}  // namespace caracal::cuda

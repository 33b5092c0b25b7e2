#include "ops/quantization/quantize_fp8.h"

#include "cuda/implement.h"
#include "ops/quantization/fp8.kernels.h"

namespace caracal::cuda {

void run(const QuantizeFp8& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.w.shape[0], k = op.w.shape[1];
  Fault* fault =
      cuda.fault([k](const Fault& f) { return weight_error(QuantizeFp8::kName, f.position / k, f.position % k); });
  cuda.launch(entry_of(kQuantizeFp8, op.w.dtype), {{unsigned(out[1].shape.elements())}, kQuantizeFp8Threads},
              address(op.w), out[0].data<uint8_t>(), out[1].data<float>(), n, k, fault);
}

}  // namespace caracal::cuda

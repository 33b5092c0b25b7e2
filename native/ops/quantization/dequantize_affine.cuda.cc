#include "ops/quantization/dequantize_affine.h"

#include "cuda/implement.h"
#include "ops/quantization/dequantize_affine.kernels.h"

namespace caracal::cuda {

void run(const DequantizeAffine& op, std::span<Tensor> out, Cuda& cuda) {
  constexpr int64_t kThreads = 256;
  const int64_t count = out[0].shape.elements() / 8;
  cuda.launch(entry_of(kDequantizeAffine, op.scale.dtype, op.out_dtype),
              {{unsigned(divide_up(count, kThreads))}, kThreads}, op.codes.data<uint8_t>(), address(op.scale),
              address(op.bias), address(out[0]), count, int(op.group() / 8), int(op.bits));
}

}  // namespace caracal::cuda

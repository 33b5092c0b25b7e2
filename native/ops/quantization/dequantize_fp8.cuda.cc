#include "ops/quantization/dequantize_fp8.h"

#include "cuda/implement.h"
#include "ops/quantization/fp8.kernels.h"

namespace caracal::cuda {

void run(const DequantizeFp8& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t n = op.codes.shape.elements();
  const ElementBlocks blocks = element_blocks(n, 1);
  cuda.launch(entry_of(kDequantizeFp8, op.out_dtype), {blocks.grid, blocks.threads}, op.codes.data<uint8_t>(),
              op.scale.data<float>(), address(out[0]), n, op.codes.shape[1]);
}

}  // namespace caracal::cuda

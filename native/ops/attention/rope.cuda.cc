#include "ops/attention/rope.h"

#include <numeric>

#include "cuda/implement.h"
#include "ops/attention/rope.cuda.h"
#include "ops/attention/rope.kernels.h"
#include "ops/attention/rotation.cuda.h"

namespace caracal::cuda {

void run(const Rope& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t tokens = op.x.shape[0], heads = op.x.shape[1], dim = op.x.shape[2], copied = dim - op.rotated();
  if (out[0].shape.elements() == 0) return;
  // A vector is either copied or rotated as a whole.
  const int64_t vector = vector_elements(op.x.dtype, std::gcd(dim, copied), {address(op.x), address(out[0])});
  const int64_t block_heads = rope_heads(heads, dim / vector);
  cuda.launch(entry_of(kRope, op.x.dtype), {{unsigned(tokens), unsigned(divide_up(heads, block_heads))}, 256},
              address(op.x), op.positions.data<int>(), address(out[0]), int(heads), int(block_heads), int(dim),
              int(copied), rotary_frequencies(op.theta, op.rotated()), vector > 1);
}

}  // namespace caracal::cuda

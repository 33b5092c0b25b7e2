#include "ops/attention/rope.h"

#include <numeric>

#include "core/math.h"
#include "cuda/implement.h"
#include "ops/attention/rope.kernels.h"

namespace caracal::cuda {

// Heads that a block takes: all of them would leave most of the GPU without work when tokens are few.
inline int64_t rope_heads(int64_t heads, int64_t items) {
  constexpr int64_t kItems = 1024, kMostBlocks = 65535;
  return std::max(std::clamp<int64_t>(kItems / items, 1, heads), divide_up(heads, kMostBlocks));
}

void run(const Rope& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t tokens = op.x.shape[0], heads = op.x.shape[1], dim = op.x.shape[2], kept = dim - op.rotated();
  if (out[0].shape.elements() == 0) return;
  // A vector is kept as a whole or turned as a whole.
  const int64_t vector = vector_elements(op.x.dtype, std::gcd(dim, kept), {address(op.x), address(out[0])});
  const int64_t each = rope_heads(heads, dim / vector);
  cuda.launch(entry_of(kRope, op.x.dtype), {{unsigned(tokens), unsigned(divide_up(heads, each))}, 256}, address(op.x),
              op.positions.data<int>(), address(out[0]), int(heads), int(each), int(dim), int(kept),
              rotary_table(op.theta, op.rotated()), vector > 1);
}

}  // namespace caracal::cuda

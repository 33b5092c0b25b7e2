// Memory-bound: every element is read once and written once, 2 x 24 KiB per token (64 heads of 192 bf16). A block
// computes the sines and cosines of one token, kPassPairs pairs at a time, and applies them to its heads.
#include "cuda/device/element.cuh"
#include "ops/attention/rope.kernels.h"
#include "ops/attention/rotation.cuh"

namespace caracal {

constexpr int kPassPairs = 512;

// Block (token, group of `block_heads` heads).
template <class T, int V>
__device__ inline void rope(const T* x, const int* positions, T* y, int heads, int block_heads, int dim, int copied,
                            const RotaryFrequencies& frequencies) {
  static_assert(2 * kPassPairs % V == 0, "a vector is within one pass");
  __shared__ Rotations<kPassPairs> rotations;
  const int head = block_y() * block_heads, count = min(block_heads, heads - head);
  const long long first = (blockIdx.x * static_cast<long long>(heads) + head) * dim;
  const int pairs = (dim - copied) / 2, position = positions[blockIdx.x];
  for (int pass = 0; pass == 0 || pass < pairs; pass += kPassPairs) {
    rotations.compute(frequencies, position, pass, min(kPassPairs, pairs - pass));
    const int from = pass == 0 ? 0 : copied + 2 * pass, to = min(dim, copied + 2 * (pass + kPassPairs));
    const int items = (to - from) / V;
    for (int i = thread_index(); i < count * items; i += thread_count()) {
      const int c = from + i % items * V, rotated_c = c - copied - 2 * pass;
      const long long at = first + static_cast<long long>(i / items) * dim + c;
      float v[V];
      load<V>(x + at, v);
      if (rotated_c >= 0) rotations.apply(x + at, rotated_c, v);
      store<V>(y + at, v);
    }
  }
}

#define CARACAL_ROPE(T)                                                                                          \
  CARACAL_KERNEL(kRope, rope_##T, , const T* x, const int* positions, T* y, int heads, int block_heads, int dim, \
                 int copied, const __grid_constant__ RotaryFrequencies frequencies, bool aligned) {              \
    if (aligned)                                                                                                 \
      rope<T, kVector<T>>(x, positions, y, heads, block_heads, dim, copied, frequencies);                        \
    else                                                                                                         \
      rope<T, 1>(x, positions, y, heads, block_heads, dim, copied, frequencies);                                 \
  }
CARACAL_ROPE(f32)
CARACAL_ROPE(bf16)
#undef CARACAL_ROPE

}  // namespace caracal

// Memory-bound: every element is read once and written once, 2 x 24 KiB a token (64 heads of 192 bf16). A block turns
// the heads of one token by sines and cosines that it makes once, kPassPairs at a time.
#include "cuda/device/element.cuh"
#include "ops/attention/rope.kernels.h"
#include "ops/attention/rotation.cuh"

namespace caracal {

constexpr int kPassPairs = 512;

// Block (t, part) has the token's heads [part * each, ...).
template <class T, int V>
__device__ inline void rope(const T* x, const int* positions, T* y, int heads, int each, int dim, int kept,
                            const RotaryTable& table) {
  __shared__ Turns<kPassPairs> turns;
  const int head = static_cast<int>(blockIdx.y) * each, count = min(each, heads - head);
  const long long first = (blockIdx.x * static_cast<long long>(heads) + head) * dim;
  const int pairs = (dim - kept) / 2, position = positions[blockIdx.x];
  for (int pass = 0; pass == 0 || pass < pairs; pass += kPassPairs) {
    turns.make(table, position, pass, min(kPassPairs, pairs - pass));
    const int from = pass == 0 ? 0 : kept + 2 * pass, to = min(dim, kept + 2 * (pass + kPassPairs));
    const int items = (to - from) / V;
    for (int i = static_cast<int>(threadIdx.x); i < count * items; i += static_cast<int>(blockDim.x)) {
      const int c = from + i % items * V, turning = c - kept - 2 * pass;
      const long long at = first + static_cast<long long>(i / items) * dim + c;
      float v[V];
      load<V>(x + at, v);
      if (turning >= 0) turns.apply(x + at, turning, v);
      store<V>(y + at, v);
    }
  }
}

#define CARACAL_ROPE(T)                                                                                             \
  CARACAL_KERNEL(kRope, rope_##T, , const T* x, const int* positions, T* y, int heads, int each, int dim, int kept, \
                 const __grid_constant__ RotaryTable table, bool aligned) {                                         \
    if (aligned)                                                                                                    \
      rope<T, kVector<T>>(x, positions, y, heads, each, dim, kept, table);                                          \
    else                                                                                                            \
      rope<T, 1>(x, positions, y, heads, each, dim, kept, table);                                                   \
  }
CARACAL_ROPE(f32)
CARACAL_ROPE(bf16)
#undef CARACAL_ROPE

}  // namespace caracal

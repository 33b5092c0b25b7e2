// Memory-bound: each element of a, and of b unless b is a single row, is read once, and each of y is written once:
// 3 x 12 KiB per row of 6144 bf16.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/elementwise/binary.kernels.h"

namespace caracal {

// b has `period` elements and repeats after them.
template <class A, class B, int V>
__device__ inline void binary(const A* a, const B* b, A* y, long long n, long long period, BinaryKind kind) {
  const long long i = grid_thread_index() * V;
  if (i >= n) return;
  float v[V], w[V];
  load<V>(a + i, v);
  load<V>(b + (period < n ? i % period : i), w);
#pragma unroll
  for (int j = 0; j < V; j++) v[j] = kind == BinaryKind::add ? v[j] + w[j] : v[j] * w[j];
  store<V>(y + i, v);
}

#define CARACAL_BINARY(A, B)                                                                               \
  CARACAL_KERNEL(kBinary, binary_##A##_##B, , const A* a, const B* b, A* y, long long n, long long period, \
                 BinaryKind kind, bool aligned) {                                                          \
    if (aligned)                                                                                           \
      binary<A, B, kVector<A>>(a, b, y, n, period, kind);                                                  \
    else                                                                                                   \
      binary<A, B, 1>(a, b, y, n, period, kind);                                                           \
  }
CARACAL_BINARY(f32, f32)
CARACAL_BINARY(f32, bf16)
CARACAL_BINARY(bf16, f32)
CARACAL_BINARY(bf16, bf16)
#undef CARACAL_BINARY

}  // namespace caracal

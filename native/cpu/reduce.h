// Reductions of an F32x16 by a fixed tree, the same on every instruction set.
#pragma once

#include "cpu/simd.h"

namespace caracal::CARACAL_ISA {

typedef float Quarter __attribute__((vector_size(16)));
typedef int32_t QuarterI __attribute__((vector_size(16)));

template <class Fold>
CARACAL_INLINE float reduce(F32x16 a, Fold fold) {
#if defined(__AVX512F__)
  const Quarter q[] = {_mm512_extractf32x4_ps(a.v[0], 0), _mm512_extractf32x4_ps(a.v[0], 1),
                       _mm512_extractf32x4_ps(a.v[0], 2), _mm512_extractf32x4_ps(a.v[0], 3)};
#elif defined(__AVX2__)
  const Quarter q[] = {_mm256_castps256_ps128(a.v[0]), _mm256_extractf128_ps(a.v[0], 1), _mm256_castps256_ps128(a.v[1]),
                       _mm256_extractf128_ps(a.v[1], 1)};
#else
  const Quarter* q = a.v;
#endif
  const Quarter sum = fold(fold(q[0], q[2]), fold(q[1], q[3]));
  const Quarter pairs = fold(sum, __builtin_shuffle(sum, QuarterI{2, 3, 0, 1}));
  return fold(pairs, __builtin_shuffle(pairs, QuarterI{1, 0, 3, 2}))[0];
}

CARACAL_INLINE float hsum(F32x16 a) {
  return reduce(a, [](Quarter x, Quarter y) { return x + y; });
}

// The largest lane; unspecified if a lane is NaN.
CARACAL_INLINE float hmax(F32x16 a) {
  return reduce(a, [](Quarter x, Quarter y) { return x > y ? x : y; });
}

}  // namespace caracal::CARACAL_ISA

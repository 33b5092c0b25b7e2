#pragma once
// The Snake activation of sixteen lanes.
#include "cpu/math.h"

namespace caracal::CARACAL_ISA {

// The factor of sin².
CARACAL_INLINE F32x16 snake_inverse(F32x16 alpha) { return set1(1.f) / (alpha + set1(1e-9f)); }

CARACAL_INLINE F32x16 snake(F32x16 x, F32x16 alpha, F32x16 inverse) {
  const F32x16 s = sin(alpha * x);
  return fma(s * s, inverse, x);
}

}  // namespace caracal::CARACAL_ISA

#pragma once
#include <math.h>

#include "cpu/implement.h"
#include "cpu/reduce.h"

namespace caracal::CARACAL_ISA {

// The largest of n values and `best`, ignoring NaN.
template <class T>
float largest(const T* x, int64_t n, float best) {
  F32x16 top = set1(best);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) top = max(load16(x + i), top);
  for (; i < n; i++) {
    const float v = to_float(x[i]);
    if (v > best) best = v;
  }
  const float vector_best = hmax(top);
  return vector_best > best ? vector_best : best;
}

}  // namespace caracal::CARACAL_ISA

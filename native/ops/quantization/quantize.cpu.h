#pragma once
// What the CPU's quantisers share.
#include <algorithm>

#include "cpu/simd.h"
#include "ops/quantization/affine.h"
#include "ops/quantization/affine_group.h"

namespace caracal::CARACAL_ISA {

// Refuses weights that cannot be quantised. v has those of `row` from `column` on.
template <class Op>
CARACAL_INLINE void check_weights(F32x16 v, int64_t row, int64_t column) {
  const Mask16 good = abs(v) <= set1(kLargestWeight);
  const F32x16 bad = select(good, zero(), set1(1));  // NaN is not good either
  if (!any(bad > zero())) return;
  float lanes[16];
  store16(lanes, bad);
  throw weight_error(Op::kName, row, column + (std::find(lanes, lanes + 16, 1.f) - lanes));
}

CARACAL_INLINE float smallest_lane(F32x16 v) {
  float lanes[16];
  store16(lanes, v);
  return *std::min_element(lanes, lanes + 16);
}

CARACAL_INLINE float largest_lane(F32x16 v) {
  float lanes[16];
  store16(lanes, v);
  return *std::max_element(lanes, lanes + 16);
}

}  // namespace caracal::CARACAL_ISA

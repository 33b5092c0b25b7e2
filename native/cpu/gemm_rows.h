#pragma once
// Row sources, which provide the rows of a matrix product. A row source has
//   void copy(int64_t m, int64_t k, int64_t count, float* out) const   copies elements [k, k + count) of row m, widened
//   const float* direct(int64_t m) const                               row m in place, or null if it must be copied
#include "cpu/simd.h"

namespace caracal::CARACAL_ISA {

template <class T>
CARACAL_INLINE void widen(const T* in, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) store16(out + i, load16(in + i));
  for (; i < count; i++) out[i] = to_float(in[i]);
}

// Row m starts at x + index[m] * stride, or at x + m * stride if there is no index. Rows may overlap.
template <class T>
struct Rows {
  const T* x;
  int64_t stride;
  const int32_t* index = nullptr;

  CARACAL_INLINE const T* row(int64_t m) const { return x + (index ? index[m] : m) * stride; }
  CARACAL_INLINE void copy(int64_t m, int64_t k, int64_t count, float* out) const { widen(row(m) + k, count, out); }
  CARACAL_INLINE const float* direct(int64_t m) const {
    if constexpr (sizeof(T) == sizeof(float)) return row(m);
    return nullptr;
  }
};

// Row m is the concatenation of segments of `length` elements. Segment j starts at segment(m, j); null stands for zeros.
// A convolution over [time, channels] is a product with K = taps * channels and segment(t, tap) = x[t + tap - left].
template <class T, class Segment>
struct SegmentedRows {
  int64_t length;
  Segment segment;

  CARACAL_INLINE void copy(int64_t m, int64_t k, int64_t count, float* out) const {
    int64_t j = k / length, offset = k % length;
    while (count > 0) {
      const int64_t part = length - offset < count ? length - offset : count;
      const T* in = segment(m, j);
      if (in) {
        widen(in + offset, part, out);
      } else {
        memset(out, 0, static_cast<size_t>(part) * sizeof(float));
      }
      out += part;
      count -= part;
      offset = 0;
      j++;
    }
  }
  CARACAL_INLINE const float* direct(int64_t) const { return nullptr; }
};

template <class T, class Segment>
SegmentedRows<T, Segment> segmented_rows(int64_t length, Segment segment) {
  return {length, segment};
}

}  // namespace caracal::CARACAL_ISA

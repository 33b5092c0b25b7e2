#pragma once
// The weights of resizeBicubic as Pillow computes them, shared by the backends. F is a number type whose operations
// each round: double on the host, Rounded<double> in a kernel.
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace caracal {

inline constexpr int kPrecisionBits = 32 - 8 - 2;            // pixels have 8 bits, sums overshoot by less than 2
inline constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);  // sums start here, so that clip_pixel rounds

CARACAL_HOST_DEVICE uint8_t clip_pixel(int32_t sum) {
  const int32_t v = sum >> kPrecisionBits;
  return static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
}

template <class F>
CARACAL_HOST_DEVICE F cubic(F x) {
  const F a = -0.5;
  if (x < F(0)) x = F(0) - x;
  if (x < F(1)) return ((a + F(2)) * x - (a + F(3))) * x * x + F(1);
  if (x < F(2)) return (((x - F(5)) * x + F(8)) * x - F(4)) * a;
  return 0;
}

// Output i is the sum over k < count of weight(k) / total() * input[first + k].
template <class F>
struct Taps {
  F center, stretch;
  int64_t first, count;

  CARACAL_HOST_DEVICE Taps(int64_t i, int64_t in, int64_t out) : center(0), stretch(1) {
    const F scale = F(static_cast<double>(in)) / F(static_cast<double>(out));
    if (!(scale < F(1))) stretch = scale;
    center = (F(static_cast<double>(i)) + F(0.5)) * scale;
    const int64_t low = static_cast<int64_t>(double(center - F(2) * stretch + F(0.5)));
    const int64_t high = static_cast<int64_t>(double(center + F(2) * stretch + F(0.5)));
    first = low < 0 ? 0 : low;
    count = (high > in ? in : high) - first;
  }
  CARACAL_HOST_DEVICE F weight(int64_t k) const {
    return cubic((F(static_cast<double>(k + first)) - center + F(0.5)) * (F(1) / stretch));
  }
  CARACAL_HOST_DEVICE F total() const {
    F sum = 0;
    for (int64_t k = 0; k < count; k++) sum = sum + weight(k);
    return sum;
  }
  CARACAL_HOST_DEVICE static int32_t fixed_point(F weight, F total) {
    if (double(total) != 0) weight = weight / total;
    const double fixed = double(weight * F(1 << kPrecisionBits));
    return static_cast<int32_t>(double(F(fixed) + F(fixed < 0 ? -0.5 : 0.5)));
  }
};

// The number of weights to reserve per output.
CARACAL_HOST_DEVICE int64_t max_taps(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  return static_cast<int64_t>(ceil(2 * (scale < 1 ? 1 : scale))) * 2 + 1;
}

}  // namespace caracal

#include "instructions/tensor.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

namespace vgpu::tensor {
namespace {

// The values of a format with a sign, an exponent with the given bias, and fraction bits. e4m3 has no infinity, and its
// NaN is all ones; e5m2 is like f16.
std::array<float, 256> values_of(int fraction_bits, int bias, bool infinite) {
  std::array<float, 256> table;
  const int exponents = 1 << (7 - fraction_bits), fractions = 1 << fraction_bits;
  for (int bits = 0; bits < 256; bits++) {
    const int e = bits >> fraction_bits & (exponents - 1), f = bits & (fractions - 1);
    float v = e == 0 ? std::ldexp(static_cast<float>(f), 1 - bias - fraction_bits)
                     : std::ldexp(static_cast<float>(fractions + f), e - bias - fraction_bits);
    if (e == exponents - 1 && infinite)
      v = f == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
    if (!infinite && (bits & 0x7f) == 0x7f) v = std::numeric_limits<float>::quiet_NaN();
    table[static_cast<size_t>(bits)] = bits & 0x80 ? -v : v;
  }
  return table;
}

// An exact sum: 32-bit digits from 2^-320 up, each in 64 bits, so that many additions fit before it overflows.
class ExactSum {
 public:
  void add(float x, float y) {
    int ex, ey;
    const auto mx = static_cast<int64_t>(std::ldexp(std::frexp(x, &ex), 24)),
               my = static_cast<int64_t>(std::ldexp(std::frexp(y, &ey), 24));
    const int64_t product = mx * my;
    if (product == 0) return;
    const int at = ex + ey - 48 + kLowest;
    __int128 value = static_cast<__int128>(product < 0 ? -product : product) << at % 32;
    for (int i = at / 32; value != 0; i++, value >>= 32) {
      const auto digit = static_cast<int64_t>(value & 0xffffffff);
      digits_[i] += product < 0 ? -digit : digit;
    }
  }

  float rounded() const {
    int64_t d[kDigits], carry = 0;
    for (int i = 0; i < kDigits; i++) {
      carry += digits_[i];
      d[i] = carry & 0xffffffff;
      carry >>= 32;
    }
    const bool negative = carry < 0;
    if (negative) {
      int64_t borrow = 1;
      for (int64_t& digit : d) {
        borrow += ~digit & 0xffffffff;
        digit = borrow & 0xffffffff;
        borrow >>= 32;
      }
    }
    int top = kDigits - 1;
    while (top > 0 && d[top] == 0) top--;
    // The leading 33 bits or more and a sticky bit suffice for one correct rounding.
    const uint64_t high = static_cast<uint64_t>(d[top]) << 32 | static_cast<uint64_t>(top > 0 ? d[top - 1] : 0);
    if (high == 0) return 0.0f;
    const int cut = std::max(0, 24 - std::countl_zero(high));
    bool sticky = (high & ((uint64_t{1} << cut) - 1)) != 0;
    for (int i = top - 2; i >= 0; i--) sticky = sticky || d[i] != 0;
    const double value = std::ldexp(static_cast<double>(high >> cut << 1 | sticky), cut - 1 + 32 * (top - 1) - kLowest);
    return static_cast<float>(negative ? -value : value);
  }

 private:
  static constexpr int kLowest = 320, kDigits = 20;
  int64_t digits_[kDigits] = {};
};

float sum_exactly(float c, const float* a, const float* b, int k) {
  ExactSum sum;
  sum.add(c, 1.0f);
  for (int i = 0; i < k; i++) sum.add(a[i], b[8 * i]);
  return sum.rounded();
}

// Adds `group` products at a time: products and accumulator are truncated 23 + `extra` bits below the leading bit of
// the largest, added, and truncated to single precision. After Fasi et al., "Numerical behavior of NVIDIA tensor cores"
// (2021).
float sum_truncating(float c, const float* a, const float* b, int k, int group, int extra) {
  for (int begin = 0; begin < k; begin += group) {
    const int end = std::min(k, begin + group);
    int largest = -100000, ex, ey;
    auto raise = [&](int exponent) { largest = std::max(largest, exponent); };
    if (c != 0) std::frexp(c, &ex), raise(ex - 1);
    for (int i = begin; i < end; i++)
      if (a[i] != 0 && b[8 * i] != 0) std::frexp(a[i], &ex), std::frexp(b[8 * i], &ey), raise(ex + ey - 2);
    if (largest == -100000) continue;
    const int unit = largest - 23 - extra;
    auto cut = [&](double x) { return static_cast<int64_t>(std::ldexp(x, -unit)); };
    int64_t sum = cut(c);
    for (int i = begin; i < end; i++) sum += cut(static_cast<double>(a[i]) * b[8 * i]);
    const uint64_t magnitude = static_cast<uint64_t>(sum < 0 ? -sum : sum);
    const int drop = std::max(0, 40 - std::countl_zero(magnitude | 1));
    const double truncated = std::ldexp(static_cast<double>(magnitude >> drop), drop + unit);
    c = static_cast<float>(sum < 0 ? -truncated : truncated);
  }
  return c;
}

}  // namespace

const float* table_of(Format f) {
  static const auto e4m3 = values_of(3, 7, false), e5m2 = values_of(2, 15, true);
  return f == Format::e4m3 ? e4m3.data() : e5m2.data();
}

void multiply_otherwise(float* d, const float* a, const float* b, int m, int k, Accumulation how, int element_bytes,
                        uint32_t compute) {
  const int group = (compute >= 90 ? 32 : 16) / element_bytes, extra = compute >= 90 ? 2 : 1;
  for (int row = 0; row < m; row++)
    for (int n = 0; n < 8; n++) {
      float& out = d[8 * row + n];
      const float *ar = a + row * k, *bn = b + n;
      double finite = out;
      for (int i = 0; i < k; i++) finite += static_cast<double>(ar[i]) * bn[8 * i];
      out = !std::isfinite(finite)       ? static_cast<float>(finite)
            : how == Accumulation::exact ? sum_exactly(out, ar, bn, k)
                                         : sum_truncating(out, ar, bn, k, group, extra);
    }
}

}  // namespace vgpu::tensor

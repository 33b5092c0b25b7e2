// Elementary functions on F32x16. NaN propagates; infinities give the limits where they exist.
// The polynomials of exp, log, sin, cos and tanh are those of Cephes (S. L. Moshier).
#pragma once

#include <math.h>

#include "cpu/simd.h"

namespace caracal::CARACAL_ISA {

// c[0] + c[1] x + c[2] x^2 + ...
template <int N>
CARACAL_INLINE F32x16 polynomial(F32x16 x, const float (&c)[N]) {
  F32x16 sum = set1(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) sum = fma(sum, x, set1(c[i]));
  return sum;
}

// Adding it rounds to an integer, which is then in the low bits: bits(kRoundMagic + n) = bits(kRoundMagic) + n.
inline constexpr float kRoundMagic = 0x1.8p23f;
inline constexpr int32_t kRoundMagicBits = 0x4b400000;

// ln 2 in two parts. The first is so short that its product with the reduction's integer is exact even without fma, and
// so are the first parts of pi / 2 below.
inline constexpr float kLn2High = 0.693359375f;
inline constexpr float kLn2Low = -2.12194440e-4f;

// Error below 1.5 ulp.
CARACAL_INLINE F32x16 exp(F32x16 x) {
  x = min(set1(89.f), max(set1(-104.f), x));  // beyond these bounds the result is infinity or zero
  const F32x16 shifted = fma(x, set1(1.44269504f), set1(kRoundMagic));
  const F32x16 n = shifted - set1(kRoundMagic);
  F32x16 r = fma(n, set1(-kLn2High), x);
  r = fma(n, set1(-kLn2Low), r);
  constexpr float c[] = {5.0000001201e-1f, 1.6666665459e-1f, 4.1665795894e-2f,
                         8.3334519073e-3f, 1.3981999507e-3f, 1.9875691500e-4f};
  const F32x16 power = fma(r * r, polynomial(r, c), r) + set1(1.f);
  U32x16 low, high;  // 2^n as two factors, since n ranges from -150 to 128
  CARACAL_EACH_PART {
    const VecI exponent = (VecI)shifted.v[part] - kRoundMagicBits;
    const VecI half = exponent >> 1;
    low.v[part] = (VecU)(half + 127) << 23;
    high.v[part] = (VecU)(exponent - half + 127) << 23;
  }
  return power * from_bits(low) * from_bits(high);
}

// Natural logarithm, error below 1.5 ulp. log(0) is -inf, log of a negative number NaN.
CARACAL_INLINE F32x16 log(F32x16 x) {
  const Mask16 subnormal = x < set1(0x1p-126f);
  const F32x16 scaled = select(subnormal, x * set1(0x1p23f), x);
  U32x16 mantissa, exponent;
  CARACAL_EACH_PART {
    const VecU bits = (VecU)scaled.v[part];
    const VecI k = (VecI)(bits - 0x3f3504f3u) >> 23;  // makes the mantissa lie in [sqrt(1/2), sqrt(2))
    mantissa.v[part] = bits - ((VecU)k << 23);
    exponent.v[part] = (VecU)(k + kRoundMagicBits);
  }
  const F32x16 e = from_bits(exponent) - set1(kRoundMagic) - select(subnormal, set1(23.f), zero());
  const F32x16 f = from_bits(mantissa) - set1(1.f);
  const F32x16 z = f * f;
  constexpr float c[] = {3.3333331174e-1f,  -2.4999993993e-1f, 2.0000714765e-1f,  -1.6668057665e-1f, 1.4249322787e-1f,
                         -1.2420140846e-1f, 1.1676998740e-1f,  -1.1514610310e-1f, 7.0376836292e-2f};
  F32x16 y = polynomial(f, c) * f * z;
  y = fma(e, set1(kLn2Low), y);
  y = fma(z, set1(-0.5f), y);
  F32x16 result = fma(e, set1(kLn2High), f + y);
  result = select(x == zero(), set1(-INFINITY), result);
  result = select(x < set1(INFINITY), result, x);  // infinity and NaN
  return select(x < zero(), set1(NAN), result);
}

// The relative errors of sigmoid, silu and tanh are below 2e-7, that of gelu is below 5e-7.
CARACAL_INLINE F32x16 sigmoid(F32x16 x) { return set1(1.f) / (set1(1.f) + exp(-x)); }

// x * sigmoid(x). As in PyTorch, silu(-inf) is NaN.
CARACAL_INLINE F32x16 silu(F32x16 x) { return x / (set1(1.f) + exp(-x)); }

CARACAL_INLINE F32x16 tanh(F32x16 x) {
  const F32x16 a = abs(x);
  const F32x16 z = x * x;
  constexpr float c[] = {-3.33332819422e-1f, 1.33314422036e-1f, -5.37397155531e-2f, 2.06390887954e-2f,
                         -5.70498872745e-3f};
  const F32x16 small = fma(polynomial(z, c) * z, x, x);
  const F32x16 large = set1(1.f) - set1(2.f) / (exp(a + a) + set1(1.f));
  return select(a < set1(0.625f), small, copysign(large, x));
}

// a^2 - square, exactly, for square = a * a rounded.
CARACAL_INLINE F32x16 square_error(F32x16 a, F32x16 square) {
#if defined(CARACAL_FMA)
  return fma(a, a, -square);
#else
  U32x16 cut = bits_of(a);  // keeps twelve bits, whose square is exact
  CARACAL_EACH_PART cut.v[part] &= 0xfffff000u;
  const F32x16 high = from_bits(cut), low = a - high;
  return ((high * high - square) + (high + high) * low) + low * low;
#endif
}

// x * Phi(x) with the normal distribution function (the erf form of GELU). Also accurate in the negative tail:
// Phi(-a) = exp(-a^2 / 2) * t * P(t), t = 1 / (1 + 0.3 a); P is a minimax fit of the Mills ratio (relative error 4e-9).
CARACAL_INLINE F32x16 gelu(F32x16 x) {
  const F32x16 a = min(set1(12.9f), abs(x));  // beyond this the tail is subnormal, which is slow, and taken as zero
  constexpr float c[] = {0.119686715f,  0.11957131f, 0.11023937f,  0.07837209f, 0.096205324f,
                         -0.079509936f, 0.19188425f, -0.22828552f, 0.11246511f, -0.02062872f};
  const F32x16 t = set1(1.f) / fma(a, set1(0.3f), set1(1.f));
  const F32x16 square = a * a;  // exp magnifies its rounding error, which is corrected below
  const F32x16 density = exp(square * set1(-0.5f));
  F32x16 tail = fma(density, square_error(a, square) * set1(-0.5f), density) * t * polynomial(t, c);
  tail = select(a < set1(12.9f), tail, a - a);  // a - a is zero or NaN
  return x * select(x < zero(), tail, set1(1.f) - tail);
}

inline constexpr float kTrigLimit = 12800.f;  // the reduction's integer then has at most 13 bits

// sin(x + quadrant * pi / 2) for |x| <= kTrigLimit, absolute error 1e-7.
CARACAL_INLINE F32x16 sin_shifted(F32x16 x, int quadrant) {
  const F32x16 shifted = fma(x, set1(0.636619772f), set1(kRoundMagic));
  const F32x16 n = shifted - set1(kRoundMagic);
  F32x16 r = fma(n, set1(-1.5703125f), x);
  r = fma(n, set1(-4.837512969970703125e-4f), r);
  r = fma(n, set1(-7.54978995489188216e-8f), r);
  const F32x16 z = r * r;
  constexpr float s[] = {-1.6666654611e-1f, 8.3321608736e-3f, -1.9515295891e-4f};
  constexpr float c[] = {4.166664568298827e-2f, -1.388731625493765e-3f, 2.443315711809948e-5f};
  const F32x16 sine = fma(polynomial(z, s) * z, r, r);
  const F32x16 cosine = fma(z * z, polynomial(z, c), fma(z, set1(-0.5f), set1(1.f)));
  F32x16 result;
  CARACAL_EACH_PART {
    const VecU turn = (VecU)shifted.v[part] + static_cast<uint32_t>(quadrant);
    const VecF value = (turn & 1u) != 0 ? cosine.v[part] : sine.v[part];
    result.v[part] = (VecF)((VecU)value ^ (turn & 2u) << 30);
  }
  return result;
}

// Replaces `fast` by exact(x) in the lanes beyond kTrigLimit. The other lanes stay as they are, so that the bits of a lane
// do not depend on its neighbours.
CARACAL_INLINE F32x16 beyond_limit(F32x16 x, F32x16 fast, float (*exact)(float)) {
  const Mask16 beyond = abs(x) > set1(kTrigLimit);
  if (!any(beyond)) return fast;
  float lane[16];
  store16(lane, x);
  for (float& value : lane) value = exact(value);
  return select(beyond, load16(lane), fast);
}

CARACAL_INLINE F32x16 sin(F32x16 x) { return beyond_limit(x, sin_shifted(x, 0), sinf); }

CARACAL_INLINE F32x16 cos(F32x16 x) { return beyond_limit(x, sin_shifted(x, 1), cosf); }

}  // namespace caracal::CARACAL_ISA

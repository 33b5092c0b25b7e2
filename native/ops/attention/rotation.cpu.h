#pragma once
// Sines and cosines of rotary embeddings, accurate in f32 at every position: angles and their reduction are f64.
#include <math.h>

#include "core/math.h"
#include "cpu/implement.h"
#include "cpu/math.h"
#include "ops/attention/rotation.h"

namespace caracal::CARACAL_ISA {

// The frequencies of all pairs of a vector of `dim` elements.
inline void rotary_frequencies(double theta, int64_t dim, double* frequencies) {
  for (int64_t i = 0; i < dim / 2; i++) frequencies[i] = rotary_frequency(theta, i, dim);
}

// Cosines and sines of position * frequency for n frequencies. Both arrays have room for round_up(n, 16) values.
inline void rotation(int32_t position, const double* frequencies, int64_t n, float* cosine, float* sine) {
  constexpr double kTwoPi = 6.283185307179586;
  constexpr double kRound = 0x1.8p52;  // adding and subtracting it rounds to an integer
  for (int64_t i = 0; i < n; i += 16) {
    float high[16] = {}, low[16] = {};
    for (int64_t j = 0; j < 16 && i + j < n; j++) {
      const double angle = position * frequencies[i + j];
      const double turns = (angle * (1 / kTwoPi) + kRound) - kRound;
      const double reduced = angle - turns * kTwoPi;
      high[j] = static_cast<float>(reduced);
      low[j] = static_cast<float>(reduced - static_cast<double>(high[j]));
    }
    const F32x16 c = cos(load16(high)), s = sin(load16(high)), rest = load16(low);
    store16(cosine + i, c - rest * s);
    store16(sine + i, s + rest * c);
  }
}

// Rotates the interleaved pairs of one vector; `in` and `out` may be equal.
template <class In, class Out>
inline void rotate_pairs(const In* in, int64_t pairs, const float* cosine, const float* sine, Out* out) {
  for (int64_t i = 0; i < pairs; i++) {
    const float a = to_float(in[2 * i]), b = to_float(in[2 * i + 1]);
    out[2 * i] = from_float<Out>(a * cosine[i] - b * sine[i]);
    out[2 * i + 1] = from_float<Out>(b * cosine[i] + a * sine[i]);
  }
}

}  // namespace caracal::CARACAL_ISA

#pragma once
// Angles of rotary embeddings, to f32 precision whatever the position: the product and its reduction are f64.
#include <math.h>

#include "cpu/implement.h"
#include "cpu/math.h"

namespace caracal::CARACAL_ISA {

// theta^(-2 i / dim) for i in [0, dim / 2).
inline void rotary_frequencies(double theta, int64_t dim, double* frequencies) {
  for (int64_t i = 0; i < dim / 2; i++)
    frequencies[i] = ::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
}

// cos and sin of position * frequency for n frequencies. Writes whole groups of 16: `cosine` and `sine` have room.
inline void rotation(int32_t position, const double* frequencies, int64_t n, float* cosine, float* sine) {
  constexpr double kTurn = 6.283185307179586;
  constexpr double kRound = 0x1.8p52;  // adding it and taking it off rounds to an integer
  for (int64_t i = 0; i < n; i += 16) {
    float high[16] = {}, low[16] = {};
    for (int64_t j = 0; j < 16 && i + j < n; j++) {
      const double angle = position * frequencies[i + j];
      const double turns = (angle * (1 / kTurn) + kRound) - kRound;
      const double rest = angle - turns * kTurn;
      high[j] = static_cast<float>(rest);
      low[j] = static_cast<float>(rest - static_cast<double>(high[j]));
    }
    const F32x16 c = cos(load16(high)), s = sin(load16(high)), rest = load16(low);
    store16(cosine + i, c - rest * s);
    store16(sine + i, s + rest * c);
  }
}

// Room for `n` values written in groups of 16.
inline constexpr int64_t whole_groups(int64_t n) { return (n + 15) / 16 * 16; }

// Turns the interleaved pairs of one vector; `in` may be `out`.
template <class In, class Out>
inline void rotate_pairs(const In* in, int64_t pairs, const float* cosine, const float* sine, Out* out) {
  for (int64_t i = 0; i < pairs; i++) {
    const float a = to_float(in[2 * i]), b = to_float(in[2 * i + 1]);
    out[2 * i] = from_float<Out>(a * cosine[i] - b * sine[i]);
    out[2 * i + 1] = from_float<Out>(b * cosine[i] + a * sine[i]);
  }
}

}  // namespace caracal::CARACAL_ISA

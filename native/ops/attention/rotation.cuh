#pragma once
// Angles of rotary embeddings: position * frequency and its reduction are f64, so that position 2^31 turns as exactly
// as position 1.
#include "cuda/device/element.cuh"
#include "ops/attention/rotation.kernels.h"

namespace caracal {

// theta^(-2 i / dim)
__device__ inline double rotary_frequency(const RotaryTable& table, long long i) {
  return i < RotaryTable::kRoom ? table.frequency[i]
                                : pow(table.theta, -2.0 * static_cast<double>(i) / static_cast<double>(table.dim));
}

struct Turn {
  float cosine, sine;
};

__device__ inline Turn turn_by(int position, double frequency) {
  constexpr double kTurn = 6.283185307179586, kTurnRest = 2.4492935982947064e-16, kPi = 3.141592653589793;
  const double angle = position * frequency, turns = rint(angle * (1 / kTurn));
  const double halves = fma(-turns, kTurnRest, fma(-turns, kTurn, angle)) * (1 / kPi);  // in [-1, 1]
  const float high = static_cast<float>(halves), rest = static_cast<float>((halves - high) * kPi);
  float s, c;
  sincospif(high, &s, &c);  // sincosf would bring its slow path for large angles along
  return {fmaf(-rest, s, c), fmaf(rest, c, s)};
}

// The first and the second of a pair, turned; products are rounded as the CPU rounds them.
__device__ inline float2 turned(float a, float b, Turn by) {
  return {__fsub_rn(__fmul_rn(a, by.cosine), __fmul_rn(b, by.sine)),
          __fadd_rn(__fmul_rn(b, by.cosine), __fmul_rn(a, by.sine))};
}

// The turns of up to N pairs in shared memory. Sines stand apart from cosines: lanes that read several neighbours each
// find those in different banks.
template <int N>
struct Turns {
  alignas(16) float cosine[N], sine[N];

  // [i] turns pair first + i. Every thread of the block calls it.
  __device__ void make(const RotaryTable& table, int position, int first, int pairs) {
    __syncthreads();  // whoever uses those before
    for (int i = static_cast<int>(threadIdx.x); i < pairs; i += static_cast<int>(blockDim.x)) {
      const Turn t = turn_by(position, rotary_frequency(table, first + i));
      cosine[i] = t.cosine;
      sine[i] = t.sine;
    }
    __syncthreads();
  }
  __device__ Turn operator[](int i) const { return {cosine[i], sine[i]}; }

  // Turns v, the V elements at x, of which the first is number c of all in pairs. A single one looks up its partner.
  template <class T, int V>
  __device__ void apply(const T* x, int c, float (&v)[V]) const {
    if constexpr (V == 1) {
      const float other = to_float(x[c % 2 ? -1 : 1]);
      v[0] = c % 2 ? turned(other, v[0], (*this)[c / 2]).y : turned(v[0], other, (*this)[c / 2]).x;
    } else {
      float cosines[V / 2], sines[V / 2];
      load<V / 2>(cosine + c / 2, cosines);
      load<V / 2>(sine + c / 2, sines);
#pragma unroll
      for (int i = 0; i < V / 2; i++) {
        const float2 pair = turned(v[2 * i], v[2 * i + 1], {cosines[i], sines[i]});
        v[2 * i] = pair.x;
        v[2 * i + 1] = pair.y;
      }
    }
  }
};

}  // namespace caracal

#pragma once
// Sines and cosines of rotary embeddings. Angles and their reduction are f64, so that position 2^31 is rotated as
// accurately as position 1.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/attention/rotation.kernels.h"

namespace caracal {

__device__ inline double rotary_frequency(const RotaryFrequencies& f, long long i) {
  return i < RotaryFrequencies::kStored ? f.frequency[i]
                                        : pow(f.theta, -2.0 * static_cast<double>(i) / static_cast<double>(f.dim));
}

struct Rotation {
  float cosine, sine;
};

__device__ inline Rotation rotation_at(int position, double frequency) {
  constexpr double kTwoPi = 6.283185307179586, kTwoPiLow = 2.4492935982947064e-16, kPi = 3.141592653589793;
  const double angle = position * frequency, turns = rint(angle * (1 / kTwoPi));
  const double half_turns = fma(-turns, kTwoPiLow, fma(-turns, kTwoPi, angle)) * (1 / kPi);  // in [-1, 1]
  const float high = static_cast<float>(half_turns), low = static_cast<float>((half_turns - high) * kPi);
  float s, c;
  sincospif(high, &s, &c);  // sincosf would include its slow path for large angles
  return {fmaf(-low, s, c), fmaf(low, c, s)};
}

// The rotated pair (a, b); products are rounded as on the CPU.
__device__ inline float2 rotated(float a, float b, Rotation by) {
  return {__fsub_rn(__fmul_rn(a, by.cosine), __fmul_rn(b, by.sine)),
          __fadd_rn(__fmul_rn(b, by.cosine), __fmul_rn(a, by.sine))};
}

// The rotations of up to N pairs in shared memory. Cosines and sines are separate arrays, so that vector loads of
// neighbouring ones have no bank conflicts.
template <int N>
struct Rotations {
  alignas(16) float cosine[N], sine[N];

  // Computes the rotations of pairs [first, first + pairs). Called by every thread of the block.
  __device__ void compute(const RotaryFrequencies& f, int position, int first, int pairs) {
    __syncthreads();  // wait until all threads have used the previous rotations
    for (int i = thread_index(); i < pairs; i += thread_count()) {
      const Rotation r = rotation_at(position, rotary_frequency(f, first + i));
      cosine[i] = r.cosine;
      sine[i] = r.sine;
    }
    __syncthreads();
  }
  __device__ Rotation operator[](int i) const { return {cosine[i], sine[i]}; }

  // Rotates v, the V elements at x, in interleaved pairs; the first is element c of those that compute() covers. A
  // single element (V = 1) reads the other one of its pair from x.
  template <class T, int V>
  __device__ void apply(const T* x, int c, float (&v)[V]) const {
    if constexpr (V == 1) {
      const float other = to_float(x[c % 2 ? -1 : 1]);
      v[0] = c % 2 ? rotated(other, v[0], (*this)[c / 2]).y : rotated(v[0], other, (*this)[c / 2]).x;
    } else {
      static_assert(V % 2 == 0, "a vector has whole pairs");
      float cosines[V / 2], sines[V / 2];
      load<V / 2>(cosine + c / 2, cosines);
      load<V / 2>(sine + c / 2, sines);
#pragma unroll
      for (int i = 0; i < V / 2; i++) {
        const float2 pair = rotated(v[2 * i], v[2 * i + 1], {cosines[i], sines[i]});
        v[2 * i] = pair.x;
        v[2 * i + 1] = pair.y;
      }
    }
  }
};

}  // namespace caracal

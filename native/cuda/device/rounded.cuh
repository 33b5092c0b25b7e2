#pragma once

namespace caracal {

// A number whose every operation rounds, as the CPU's do: nvcc fuses a * b + c of plain ones.
template <class T>
struct Rounded;

template <>
struct Rounded<float> {
  float v;
  friend __device__ inline Rounded operator+(Rounded a, Rounded b) { return {__fadd_rn(a.v, b.v)}; }
  friend __device__ inline Rounded operator-(Rounded a, Rounded b) { return {__fsub_rn(a.v, b.v)}; }
  friend __device__ inline Rounded operator*(Rounded a, Rounded b) { return {__fmul_rn(a.v, b.v)}; }
};

}  // namespace caracal

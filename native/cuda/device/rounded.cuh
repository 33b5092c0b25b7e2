#pragma once

namespace caracal {

// A number whose operations all round, as on the CPU. nvcc would fuse a * b + c of plain numbers.
template <class T>
struct Rounded;

template <>
struct Rounded<float> {
  float v;
  __device__ Rounded(float v) : v(v) {}
  friend __device__ inline Rounded operator+(Rounded a, Rounded b) { return __fadd_rn(a.v, b.v); }
  friend __device__ inline Rounded operator-(Rounded a, Rounded b) { return __fsub_rn(a.v, b.v); }
  friend __device__ inline Rounded operator*(Rounded a, Rounded b) { return __fmul_rn(a.v, b.v); }
};

template <>
struct Rounded<double> {
  double v;
  __device__ Rounded(double v) : v(v) {}
  explicit __device__ operator double() const { return v; }
  friend __device__ inline Rounded operator+(Rounded a, Rounded b) { return __dadd_rn(a.v, b.v); }
  friend __device__ inline Rounded operator-(Rounded a, Rounded b) { return __dsub_rn(a.v, b.v); }
  friend __device__ inline Rounded operator*(Rounded a, Rounded b) { return __dmul_rn(a.v, b.v); }
  friend __device__ inline Rounded operator/(Rounded a, Rounded b) { return __ddiv_rn(a.v, b.v); }
  friend __device__ inline bool operator<(Rounded a, Rounded b) { return a.v < b.v; }
};

}  // namespace caracal

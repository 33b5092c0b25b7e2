#pragma once
// Epilogues turn finished sums into output. An epilogue is called once per row m and group of sixteen columns, with the
// sums, the first column n and the number of columns (16, or fewer at the right edge), from any worker.
#include "core/activation.h"
#include "cpu/math.h"

namespace caracal::CARACAL_ISA {

// x = activation(x). Out of line, since the functions are long. By reference, since GCC copies vector structs passed by
// value piecemeal, which stalls for longer than the function runs.
void activate(Activation activation, F32x16& x);

// A parameter per column, of any float dtype; data is null if the product has none.
struct ColumnVector {
  const void* data = nullptr;
  DType dtype = DType::f32;

  CARACAL_INLINE explicit operator bool() const { return data != nullptr; }
  CARACAL_INLINE F32x16 at(int64_t n, int count) const {
    if (dtype == DType::bf16) return load(static_cast<const bf16*>(data) + n, count);
    if (dtype == DType::f16) return load(static_cast<const f16*>(data) + n, count);
    return load(static_cast<const float*>(data) + n, count);
  }
};

// out[m, n] = residual[m, n] + gain[n] * activation(sum + bias[n]); T is float or bf16. out may be the residual.
template <class T>
struct LinearEpilogue {
  T* out;
  int64_t stride;
  ColumnVector bias = {};
  Activation activation = Activation::none;
  ColumnVector gain = {};  // LayerScale
  const T* residual = nullptr;
  int64_t residual_stride = 0;

  CARACAL_INLINE void operator()(F32x16 sum, int64_t m, int64_t n, int count) const {
    if (bias) sum += bias.at(n, count);
    if (activation != Activation::none) activate(activation, sum);
    if (gain) sum = sum * gain.at(n, count);
    if (residual) sum += load(residual + m * residual_stride + n, count);
    store(out + m * stride + n, sum, count);
  }
};

// out[m, n] = silu(gate + gate_bias[n]) * (up + up_bias[n]).
template <class T>
struct SwiGluEpilogue {
  T* out;
  int64_t stride;
  ColumnVector gate_bias = {};
  ColumnVector up_bias = {};

  CARACAL_INLINE void operator()(F32x16 gate, F32x16 up, int64_t m, int64_t n, int count) const {
    if (gate_bias) gate += gate_bias.at(n, count);
    if (up_bias) up += up_bias.at(n, count);
    store(out + m * stride + n, silu(gate) * up, count);
  }
};

}  // namespace caracal::CARACAL_ISA

#pragma once
// Turns finished sums into output, V neighbouring columns of a row at a time.
#include <type_traits>

#include "cuda/device/activation.cuh"
#include "cuda/device/element.cuh"
#include "cuda/gemm/gemm.kernels.h"
#include "cuda/ptx/memory.cuh"

namespace caracal {

template <int V>
__device__ inline void load_as(bool as_bf16, const void* p, long long at, float (&v)[V]) {
  if (as_bf16)
    load<V>(static_cast<const bf16*>(p) + at, v);
  else
    load<V>(static_cast<const float*>(p) + at, v);
}

// Returns whether the output is bf16. V is 1, or the number of output elements in 16 bytes: 8 bf16 or 4 f32.
template <int V>
__device__ inline bool is_bf16(bool as_bf16) {
  return V == 1 ? as_bf16 : V == 8;
}

template <int V>
__device__ inline void store_as(bool as_bf16, void* p, long long at, const float (&v)[V]) {
  if constexpr (V == 1) {
    if (as_bf16)
      store<1>(static_cast<bf16*>(p) + at, v);
    else
      store<1>(static_cast<float*>(p) + at, v);
  } else {
    alignas(16) std::conditional_t<V == 8, bf16, float> chunk[V];
    store<V>(chunk, v);
    ptx::store_global_16(static_cast<decltype(&chunk[0])>(p) + at, *reinterpret_cast<const uint4*>(chunk));
  }
}

template <int V>
__device__ inline void add(ColumnVector c, long long column, float (&v)[V]) {
  if (!c.data) return;
  float w[V];
  load_as<V>(c.bf16, c.data, column, w);
#pragma unroll
  for (int j = 0; j < V; j++) v[j] += w[j];
}

// Like finish for a LinearEpilogue, with activation(v) instead of e.activation.
template <int V, class Activate>
__device__ inline void finish_with(Activate activation, const LinearEpilogue& e, long long n, long long row,
                                   long long column, float (&v)[V]) {
  const long long at = row * n + column;
  add<V>(e.bias, column, v);
  activation(v);
  float gain[V], residual[V] = {};
  if (e.residual) load_as<V>(is_bf16<V>(e.bf16), e.residual, at, residual);
  if (e.gain.data) {
    load_as<V>(e.gain.bf16, e.gain.data, column, gain);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = __fmul_rn(v[j], gain[j]);
  }
  if (e.residual) {
#pragma unroll
    for (int j = 0; j < V; j++)
      v[j] = __fadd_rn(v[j], residual[j]);  // not fused with the multiplication, to match the CPU's bits
  }
  store_as<V>(e.bf16, e.out, at, v);
}

template <int V>
__device__ inline void activate(Activation kind, float (&v)[V]) {
  if (kind == Activation::none) return;
#pragma unroll
  for (int j = 0; j < V; j++) v[j] = activate(kind, v[j]);
}

// sums[0] are the sums of the first weight, sums[1] those of the second.
template <int V>
__device__ inline void finish(const LinearEpilogue& e, long long n, long long row, long long column,
                              float (&sums)[1][V]) {
  finish_with([&](float (&v)[V]) { activate(e.activation, v); }, e, n, row, column, sums[0]);
}

template <int V>
__device__ inline void finish(const SwigluEpilogue& e, long long n, long long row, long long column,
                              float (&sums)[2][V]) {
  add<V>(e.gate_bias, column, sums[0]);
  add<V>(e.up_bias, column, sums[1]);
#pragma unroll
  for (int j = 0; j < V; j++) sums[0][j] = activate(Activation::silu, sums[0][j]) * sums[1][j];
  store_as<V>(e.bf16, e.out, row * n + column, sums[0]);
}

}  // namespace caracal

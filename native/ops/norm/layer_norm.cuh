#pragma once
// The arithmetic of layer norm, for every kernel that has one: the same bits in all of them.

namespace caracal {

// What thread `thread` of a row's `threads` adds to the row's sum, V of n elements at a time; at(i, v) reads them.
template <int V, class At>
__device__ inline float part_of_sum(At at, int n, int thread, int threads) {
  float sum = 0;
  for (int i = thread * V; i < n; i += threads * V) {
    float v[V];
    at(i, v);
#pragma unroll
    for (int j = 0; j < V; j++) sum += v[j];
  }
  return sum;
}

// The same of the squares of what differs from the mean.
template <int V, class At>
__device__ inline float part_of_squares(At at, float mean, int n, int thread, int threads) {
  float squares = 0;
  for (int i = thread * V; i < n; i += threads * V) {
    float v[V];
    at(i, v);
#pragma unroll
    for (int j = 0; j < V; j++) squares = fmaf(v[j] - mean, v[j] - mean, squares);
  }
  return squares;
}

__device__ inline float layer_norm_scale(float squares, int n, float eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(n) + eps);
}

__device__ inline float layer_normed(float v, float mean, float scale, float weight, float bias) {
  return fmaf((v - mean) * scale, weight, bias);
}

}  // namespace caracal

#pragma once
// The arithmetic of layer norm, shared by the kernels of layerNorm and fsmnMemory so that they compute the same bits.

namespace caracal {

// One thread's part of the sum over a row of n elements that `threads` threads share, V elements at a time; at(i, v)
// reads those from i on.
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

// One thread's part of the sum of squared differences from the mean.
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

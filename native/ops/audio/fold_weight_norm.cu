// One block per row. Norms are in f64: each sums up to 10^4 squares, and its error reaches every weight of the row.
// Runs once, at load.
#include "cuda/device/reduce.cuh"
#include "ops/audio/fold_weight_norm.kernels.h"

namespace caracal {

CARACAL_KERNEL(kFoldWeightNorm, fold_weight_norm, , const float* v, const float* g, float* out, long long n) {
  __shared__ double parts[kMaxBlockWarps];
  v += blockIdx.x * n;
  out += blockIdx.x * n;
  double squares = 0;
  for (long long i = threadIdx.x; i < n; i += blockDim.x) squares += double(v[i]) * v[i];
  for (int step = kWarp / 2; step > 0; step /= 2) squares += __shfl_xor_sync(kAllLanes, squares, step);
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = squares;
  __syncthreads();
  squares = 0;
  for (unsigned i = 0; i < blockDim.x / kWarp; i++) squares += parts[i];
  const double scale = g[blockIdx.x] / sqrt(squares);
  for (long long i = threadIdx.x; i < n; i += blockDim.x) out[i] = static_cast<float>(v[i] * scale);
}

}  // namespace caracal

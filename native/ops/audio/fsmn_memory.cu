// z is read once but for the rows that the taps of two blocks reach, the residual is read once and y is written once.
// Memory-bound: 2 K FLOP per element (K = 11) against 6 bytes of bf16. With a layer norm z is never in memory: see below.
#include "cuda/device/reduce.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/ptx/async.cuh"
#include "ops/audio/depthwise.cuh"
#include "ops/audio/fsmn_memory.kernels.h"
#include "ops/norm/layer_norm.cuh"

namespace caracal {

struct FsmnTaps : FsmnOrders {
  __device__ explicit FsmnTaps(const FsmnOrders& orders) : FsmnOrders(orders) {}
  __device__ int count() const { return left_order + 1 + right_order; }
  __device__ int offset(int k) const {
    return (k <= left_order ? (k - left_order) * left_stride : (k - left_order) * right_stride) - delay;
  }
};

// Row t of the output is for the time t - delay.
template <class T>
__device__ inline void fsmn_store(T* y, const TimeRows<T>& residual, int delay, long long t, int channels, int c,
                                  float sum) {
  if (const T* row = residual.at(t - delay)) sum += to_float(row[c]);
  y[t * channels + c] = from_float<T>(sum);
}

#define CARACAL_FSMN_MEMORY(T, W)                                                                                  \
  CARACAL_KERNEL(kFsmnMemory, fsmn_memory_##T##_##W, __launch_bounds__(kDepthwiseThreads), TimeRows<T> z,          \
                 const W* weight, TimeRows<T> residual, T* y, FsmnOrders orders, DepthwiseBlock block) {           \
    const FsmnTaps taps(orders);                                                                                   \
    depthwise(z, weight, taps, 1, block,                                                                           \
              [&](long long t, int c, float sum) { fsmn_store(y, residual, taps.delay, t, z.channels, c, sum); }); \
  }
CARACAL_FSMN_MEMORY(f32, f32)
CARACAL_FSMN_MEMORY(f32, bf16)
CARACAL_FSMN_MEMORY(bf16, f32)
CARACAL_FSMN_MEMORY(bf16, bf16)
#undef CARACAL_FSMN_MEMORY

// --- with a layer norm ----------------------------------------------------------------------------------------------
//
// A block makes a few rows of some columns. The rows of x that its taps reach stand in shared memory, whole, for their
// means and variances: a warp has each of them. The block's columns are then normalised where they stand; those are z.
// x, the state and the taps come from memory once, the output and the state go there once, 2 or 4 bytes each. What
// blocks read again, x (rows + span) / rows times for each block across, comes from the L2. 2 K + 12 FLOP per element.

constexpr int kFsmnWarps = kFsmnThreads / kWarp;
constexpr int kFsmnRows = 4;  // that a thread sums at once

template <class T, int V>
__device__ inline void fsmn_normalise(T* row, int n, int first, int columns, const FsmnNorm& norm) {
  constexpr int kMostWarps = 8;  // of row_blocks (cuda/implement.h)
  auto at = [&](int i, float (&v)[V]) { load<V>(row + i, v); };
  const float mean =
      block_sum_in_warp<kMostWarps>(norm.threads, [&](int t) { return part_of_sum<V>(at, n, t, norm.threads); }) /
      static_cast<float>(n);
  const float squares = block_sum_in_warp<kMostWarps>(
      norm.threads, [&](int t) { return part_of_squares<V>(at, mean, n, t, norm.threads); });
  const float scale = layer_norm_scale(squares, n, norm.eps);
  for (int i = static_cast<int>(threadIdx.x) % kWarp * V; i < n; i += kWarp * V) {
    if (i < first || i >= first + columns) continue;  // not from `first` on: a lane has what it has copied
    float v[V], w[V], b[V] = {};
    at(i, v);
    load_as<V>(norm.weight.bf16, norm.weight.data, i, w);
    if (norm.bias.data) load_as<V>(norm.bias.bf16, norm.bias.data, i, b);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = layer_normed(v[j], mean, scale, w[j], b[j]);
    store<V>(row + i, v);
  }
}

// `next`, if any, takes the last rows of [state; z]: the state itself where one block has all rows of its columns.
template <class T, class W, int V>
__device__ inline void fsmn_memory_norm(const TimeRows<T>& x, const FsmnNorm& norm, const W* weight,
                                        const TimeRows<T>& residual, T* y, T* next, const FsmnTaps& taps,
                                        const FsmnBlock& block) {
  extern __shared__ __align__(16) float shared[];
  const int n = x.channels, warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const TapWeights weights(taps.count());
  float* const w = shared;
  T* const z = reinterpret_cast<T*>(shared + block.columns * weights.pitch);
  const int first = static_cast<int>(blockIdx.y) * block.columns, columns = min(block.columns, n - first);
  const long long begin = static_cast<long long>(blockIdx.x) * block.rows;
  const int here = static_cast<int>(min(static_cast<long long>(block.rows), block.total - begin));
  const long long from = begin + taps.offset(0);
  const int rows = here + taps.offset(weights.count - 1) - taps.offset(0);
  auto to_be_normalised = [&](long long t) { return t >= 0 && t < x.rows; };

  for (int r = warp; r < rows; r += kFsmnWarps) {
    const T* row = x.at(from + r);
    T* const to = z + r * n;
    if (!to_be_normalised(from + r)) {
      for (int c = first + lane; c < first + columns; c += kWarp) to[c] = row ? row[c] : from_float<T>(0.0f);
    } else {
      for (int i = lane * V; i < n; i += kWarp * V) {
        if constexpr (V > 1)
          ptx::cp_async_16(to + i, row + i, 16);
        else
          to[i] = row[i];
      }
    }
  }
  ptx::cp_async_commit();
  weights.stage(w, weight, first, columns);
  ptx::cp_async_wait<0>();
  for (int r = warp; r < rows; r += kFsmnWarps)
    if (to_be_normalised(from + r)) fsmn_normalise<T, V>(z + r * n, n, first, columns, norm);
  __syncthreads();

  const int groups = (here + kFsmnRows - 1) / kFsmnRows;
  for (int item = threadIdx.x; item < groups * block.columns; item += kFsmnThreads) {
    const int c = item % block.columns, r = item / block.columns * kFsmnRows;
    if (c >= columns) continue;
    float sums[kFsmnRows] = {};
    const T* at[kFsmnRows];
#pragma unroll
    for (int j = 0; j < kFsmnRows; j++) at[j] = z + min(r + j, here - 1) * n + first + c;
    for (int k = 0; k < weights.count; k++) {
      const float tap = w[c * weights.pitch + k];
      const int step = (k < taps.left_order ? taps.left_stride : taps.right_stride) * n;
#pragma unroll
      for (int j = 0; j < kFsmnRows; j++) {
        sums[j] = fmaf(tap, to_float(*at[j]), sums[j]);
        at[j] += step;
      }
    }
#pragma unroll
    for (int j = 0; j < kFsmnRows; j++)
      if (r + j < here) fsmn_store(y, residual, taps.delay, begin + r + j, n, first + c, sums[j]);
  }

  if (!next) return;
  const long long kept = x.rows - x.state_rows;  // the time of `next`'s first row
  const long long low = blockIdx.x > 0 ? max(kept, begin) : kept, high = min(x.rows, begin + here);
  for (long long t = low + warp; t < high; t += kFsmnWarps)
    for (int c = first + lane; c < first + columns; c += kWarp) next[(t - kept) * n + c] = z[(t - from) * n + c];
}

#define CARACAL_FSMN_MEMORY(T, W)                                                                                \
  CARACAL_KERNEL(kFsmnMemoryNorm, fsmn_memory_norm_##T##_##W, __launch_bounds__(kFsmnThreads, 1), TimeRows<T> x, \
                 FsmnNorm norm, const W* weight, TimeRows<T> residual, T* y, T* next, FsmnOrders orders,         \
                 FsmnBlock block, bool aligned) {                                                                \
    if (aligned)                                                                                                 \
      fsmn_memory_norm<T, W, kVector<T>>(x, norm, weight, residual, y, next, FsmnTaps(orders), block);           \
    else                                                                                                         \
      fsmn_memory_norm<T, W, 1>(x, norm, weight, residual, y, next, FsmnTaps(orders), block);                    \
  }
CARACAL_FSMN_MEMORY(f32, f32)
CARACAL_FSMN_MEMORY(f32, bf16)
CARACAL_FSMN_MEMORY(bf16, f32)
CARACAL_FSMN_MEMORY(bf16, bf16)
#undef CARACAL_FSMN_MEMORY

}  // namespace caracal

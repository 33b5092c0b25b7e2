// z is read once except for the rows that the taps of two blocks reach; the residual is read once and y is written
// once. Memory-bound: 2 K FLOP per element (K = 11) against 6 bytes of bf16. With a layer norm, z never reaches global
// memory: see below.
#include "cuda/device/index.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/ptx/async.cuh"
#include "ops/audio/depthwise.cuh"
#include "ops/audio/fsmn_memory.kernels.h"
#include "ops/norm/layer_norm.cuh"

namespace caracal {

// Output row t belongs to time t - delay.
template <class T>
__device__ inline void fsmn_store(T* y, const TimeRows<T>& residual, int delay, long long t, int channels, int c,
                                  float sum) {
  if (const T* row = residual.at(t - delay)) sum += to_float(row[c]);
  y[t * channels + c] = from_float<T>(sum);
}

#define CARACAL_FSMN_MEMORY(T, W)                                                                                  \
  CARACAL_KERNEL(kFsmnMemory, fsmn_memory_##T##_##W, __launch_bounds__(kDepthwiseThreads), TimeRows<T> z,          \
                 const W* weight, TimeRows<T> residual, T* y, FsmnTaps taps, DepthwiseBlock block) {               \
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
// A block computes a few rows of some columns. Shared memory holds the whole rows of x that its taps reach, since their
// means and variances need every column; each row belongs to one warp. The block's columns are then normalised in place
// and become z. x, the state and the taps are read from memory once, and the output and the state are written once, 2
// or 4 bytes each. Rows that several blocks read, (rows + span) / rows times for each block across, come from L2. 2 K +
// 12 FLOP per element.

constexpr int kFsmnWarps = kFsmnThreads / kWarp;
constexpr int kFsmnRows = 4;  // rows that a thread sums together
static_assert(kFsmnThreads % kWarp == 0, "a warp normalises a whole row");

// A block's part of the output and the rows of z that its taps reach, [first_input, first_input + inputs), as one of
// its threads sees them.
struct FsmnRegion {
  int channels, first_column, columns;
  long long first_row;
  int rows;
  long long first_input;
  int inputs;
  int warp, lane;

  __device__ FsmnRegion(int channels, const FsmnTaps& taps, const FsmnBlock& block)
      : channels(channels),
        first_column(block_y() * block.columns),
        columns(min(block.columns, channels - first_column)),
        first_row(static_cast<long long>(blockIdx.x) * block.rows),
        rows(static_cast<int>(min(static_cast<long long>(block.rows), block.total - first_row))),
        first_input(first_row + taps.offset(0)),
        inputs(rows + taps.offset(taps.count() - 1) - taps.offset(0)),
        warp(warp_index()),
        lane(lane_index()) {}
};

// Only rows of x: the state's rows are normalised already, and zeros stay zeros.
template <class T>
__device__ inline bool needs_norm(const TimeRows<T>& x, long long t) {
  return t >= 0 && t < x.rows;
}

// Starts copying the rows of x into shared memory; copies the region's columns of the state.
template <class T, int V>
__device__ inline void fsmn_start_loading(FsmnRegion region, const TimeRows<T>& x, T* z) {
  const int n = region.channels;
  for (int r = region.warp; r < region.inputs; r += kFsmnWarps) {
    const long long t = region.first_input + r;
    const T* row = x.at(t);
    T* const to = z + r * n;
    if (!needs_norm(x, t)) {
      for (int c = region.first_column + region.lane; c < region.first_column + region.columns; c += kWarp)
        to[c] = row ? row[c] : from_float<T>(0.0f);
    } else {
      for (int i = region.lane * V; i < n; i += kWarp * V) {
        if constexpr (V > 1)
          ptx::cp_async_16(to + i, row + i, 16);
        else
          to[i] = row[i];
      }
    }
  }
  ptx::cp_async_commit();
}

// Normalises the region's columns of one row in place, by the warp that copied it.
template <class T, int V>
__device__ inline void fsmn_normalise(FsmnRegion region, T* row, const FsmnNorm& norm) {
  constexpr int kMaxWarps = 8;  // of row_blocks in cuda/implement.h
  const int n = region.channels;
  auto at = [&](int i, float (&v)[V]) { load<V>(row + i, v); };
  const float mean =
      block_sum_in_warp<kMaxWarps>(norm.threads, [&](int t) { return part_of_sum<V>(at, n, t, norm.threads); }) /
      static_cast<float>(n);
  const float squares = block_sum_in_warp<kMaxWarps>(
      norm.threads, [&](int t) { return part_of_squares<V>(at, mean, n, t, norm.threads); });
  const float scale = layer_norm_scale(squares, n, norm.eps);
  // The loop starts at column 0, since a lane may only touch elements that it copied itself.
  for (int i = region.lane * V; i < n; i += kWarp * V) {
    if (i < region.first_column || i >= region.first_column + region.columns) continue;
    float v[V], w[V], b[V] = {};
    at(i, v);
    load_as<V>(norm.weight.bf16, norm.weight.data, i, w);
    if (norm.bias.data) load_as<V>(norm.bias.bf16, norm.bias.data, i, b);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = layer_normed(v[j], mean, scale, w[j], b[j]);
    store<V>(row + i, v);
  }
}

// `w` holds the taps of the block's columns in shared memory.
template <class T>
__device__ inline void fsmn_sum(FsmnRegion region, const T* z, const float* w, const TapWeights& weights,
                                const FsmnTaps& taps, int block_columns, const TimeRows<T>& residual, T* y) {
  const int n = region.channels, groups = divide_up(region.rows, kFsmnRows);
  for (int item = thread_index(); item < groups * block_columns; item += kFsmnThreads) {
    const int c = item % block_columns, r = item / block_columns * kFsmnRows;
    if (c >= region.columns) continue;
    float sums[kFsmnRows] = {};
    const T* at[kFsmnRows];
#pragma unroll
    for (int j = 0; j < kFsmnRows; j++) at[j] = z + min(r + j, region.rows - 1) * n + region.first_column + c;
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
      if (r + j < region.rows)
        fsmn_store(y, residual, taps.delay, region.first_row + r + j, n, region.first_column + c, sums[j]);
  }
}

// Writes the region's part of the next state, the last rows of [state; z].
template <class T>
__device__ inline void fsmn_advance(FsmnRegion region, const TimeRows<T>& x, const T* z, T* next) {
  const int n = region.channels;
  const long long next_begin = x.rows - x.state_rows;
  const long long begin = blockIdx.x > 0 ? max(next_begin, region.first_row) : next_begin;
  const long long end = min(x.rows, region.first_row + region.rows);
  for (long long t = begin + region.warp; t < end; t += kFsmnWarps)
    for (int c = region.first_column + region.lane; c < region.first_column + region.columns; c += kWarp)
      next[(t - next_begin) * n + c] = z[(t - region.first_input) * n + c];
}

// `next` is null without a state. It is the state itself where one block computes all rows of its columns.
template <class T, class W, int V>
__device__ inline void fsmn_memory_norm(const TimeRows<T>& x, const FsmnNorm& norm, const W* weight,
                                        const TimeRows<T>& residual, T* y, T* next, const FsmnTaps& taps,
                                        const FsmnBlock& block) {
  extern __shared__ __align__(16) float shared[];
  const FsmnRegion region(x.channels, taps, block);
  const TapWeights weights(taps.count());
  float* const w = shared;
  T* const z = reinterpret_cast<T*>(shared + block.columns * weights.pitch);

  fsmn_start_loading<T, V>(region, x, z);
  weights.stage(w, weight, region.first_column, region.columns);
  ptx::cp_async_wait<0>();
  for (int r = region.warp; r < region.inputs; r += kFsmnWarps)
    if (needs_norm(x, region.first_input + r)) fsmn_normalise<T, V>(region, z + r * region.channels, norm);
  __syncthreads();
  fsmn_sum(region, z, w, weights, taps, block.columns, residual, y);
  if (next) fsmn_advance(region, x, z, next);
}

#define CARACAL_FSMN_MEMORY(T, W)                                                                                     \
  CARACAL_KERNEL(kFsmnMemoryNorm, fsmn_memory_norm_##T##_##W, __launch_bounds__(kFsmnThreads, 1), TimeRows<T> x,      \
                 FsmnNorm norm, const W* weight, TimeRows<T> residual, T* y, T* next, FsmnTaps taps, FsmnBlock block, \
                 bool aligned) {                                                                                      \
    if (aligned)                                                                                                      \
      fsmn_memory_norm<T, W, kVector<T>>(x, norm, weight, residual, y, next, taps, block);                            \
    else                                                                                                              \
      fsmn_memory_norm<T, W, 1>(x, norm, weight, residual, y, next, taps, block);                                     \
  }
CARACAL_FSMN_MEMORY(f32, f32)
CARACAL_FSMN_MEMORY(f32, bf16)
CARACAL_FSMN_MEMORY(bf16, f32)
CARACAL_FSMN_MEMORY(bf16, bf16)
#undef CARACAL_FSMN_MEMORY

}  // namespace caracal

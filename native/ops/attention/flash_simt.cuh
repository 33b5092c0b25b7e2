#pragma once
// Attention in exact f32, for f32 operands and for head sizes that the tensor cores' kernel (tensor.cuh) has no instance
// of. A block has 32 queries, a warp eight of them; keys come in tiles of 32, one to a lane, and both come through
// shared memory 64 elements of depth at a time, so that there is no limit to it. With a running maximum and sum ("online
// softmax", Milakov & Gimelshein 2018) a lane sums columns lane, lane + 32, ... of its warp's outputs.
//
// A row's bits depend on its query and its keys alone: keys that a row does not see enter its sums as exact zeros.
#include "cuda/device/reduce.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "ops/attention/flash.kernels.h"

namespace caracal {

struct SimtFlash : SimtFlashTile {
  static constexpr int kWarps = kThreads / kWarp, kRowsEach = kRows / kWarps, kKeys = 32, kDepth = 64;
  static constexpr int kStride = kDepth + 4;  // 16 bytes of eight rows fall into all banks
};

// Columns of values: 32 times Columns of them.
template <int Columns>
struct SimtFlashMemory {
  alignas(16) float q[SimtFlash::kRows * SimtFlash::kStride], k[SimtFlash::kKeys * SimtFlash::kStride];
  float v[SimtFlash::kKeys * Columns * kWarp];
  float weights[SimtFlash::kWarps][SimtFlash::kRowsEach * SimtFlash::kKeys];
};

// What a warp knows of its rows.
template <int Columns>
struct SimtFlashSums {
  float max[SimtFlash::kRowsEach], sum[SimtFlash::kRowsEach];
  float o[SimtFlash::kRowsEach][Columns];

  __device__ void clear() {
#pragma unroll
    for (int r = 0; r < SimtFlash::kRowsEach; r++) {
      max[r] = -INFINITY;
      sum[r] = 0;
#pragma unroll
      for (int c = 0; c < Columns; c++) o[r][c] = 0;
    }
  }
};

// A tile of rows of `width` elements from element `from` on; those that are not there are zeros. row(i) gives the i-th,
// null for none.
template <int Rows, int Width, int Stride, class Row>
__device__ inline void fetch_rows(float* to, Row row, bool is_bf16, int from, int width, bool aligned) {
  constexpr int kPerRow = Width / 4;
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < Rows * kPerRow; i += SimtFlash::kThreads) {
    const int r = i / kPerRow, c = i % kPerRow * 4;
    const void* data = row(r);
    float v[4] = {};
    if (data && from + c < width) {
      if (aligned) {
        load_as<4>(is_bf16, data, from + c, v);
      } else {
#pragma unroll 1
        for (int j = 0; j < 4 && from + c + j < width; j++) {
          float one[1];
          load_as<1>(is_bf16, data, from + c + j, one);
          to[r * Stride + c + j] = one[0];
        }
        for (int j = max(0, width - from - c); j < 4; j++) to[r * Stride + c + j] = 0;
        continue;
      }
    }
    store<4>(to + r * Stride + c, v);
  }
}

// scores[r] += q_r . k_lane over the depth that is in shared memory.
template <class Memory>
__device__ inline void add_scores(const Memory& m, int depth, float (&scores)[SimtFlash::kRowsEach]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const float* q = m.q + warp * SimtFlash::kRowsEach * SimtFlash::kStride;
#pragma unroll 2
  for (int d = 0; d < depth; d += 4) {
    float k[4];
    load<4>(m.k + lane * SimtFlash::kStride + d, k);
#pragma unroll
    for (int r = 0; r < SimtFlash::kRowsEach; r++) {
      float x[4];
      load<4>(q + r * SimtFlash::kStride + d, x);
#pragma unroll
      for (int j = 0; j < 4; j++) scores[r] = fmaf(x[j], k[j], scores[r]);
    }
  }
}

// Scores, in powers of two and -inf where a row does not see the lane's key, become weights; sums come to the new maxima.
template <int Columns>
__device__ inline void weigh(const float (&scores)[SimtFlash::kRowsEach], float* weights,
                             SimtFlashSums<Columns>& sums) {
#pragma unroll
  for (int r = 0; r < SimtFlash::kRowsEach; r++) {
    float most = scores[r];
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, step));
    most = fmaxf(most, sums.max[r]);
    const float base = most == -INFINITY ? 0.0f : most;  // no key seen yet
    const float factor = exp2f(sums.max[r] - base), weight = exp2f(scores[r] - base);
    sums.max[r] = most;
    sums.sum[r] = fmaf(sums.sum[r], factor, warp_sum(weight));
#pragma unroll
    for (int c = 0; c < Columns; c++) sums.o[r][c] *= factor;
    weights[r * SimtFlash::kKeys + static_cast<int>(threadIdx.x) % kWarp] = weight;
  }
  __syncwarp();
}

template <int Columns>
__device__ inline void add_values(const float* v, const float* weights, SimtFlashSums<Columns>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll 2
  for (int k = 0; k < SimtFlash::kKeys; k += 4) {
    float value[4][Columns];
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int c = 0; c < Columns; c++) value[j][c] = v[((k + j) * Columns + c) * kWarp + lane];
#pragma unroll
    for (int r = 0; r < SimtFlash::kRowsEach; r++) {
      float w[4];
      load<4>(weights + r * SimtFlash::kKeys + k, w);
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int c = 0; c < Columns; c++) sums.o[r][c] = fmaf(w[j], value[j][c], sums.o[r][c]);
    }
  }
}

// Where the operands of one block are: rows by number, null for none.
template <class Q, class K, class V>
struct SimtFlashOperands {
  Q q;
  K k;
  V v;
  bool q_bf16, k_bf16, v_bf16, aligned;
  int depth, value;
  int column;  // the first of the values'
  float scale;
};

// Takes in keys [0, keys). Row r sees those before `visible` + r * `step`.
template <int Columns, class Operands>
__device__ inline void attend(SimtFlashMemory<Columns>& m, const Operands& x, int keys, int visible, int step,
                              SimtFlashSums<Columns>& sums) {
  constexpr int kRows = SimtFlash::kRows, kKeys = SimtFlash::kKeys, kDepth = SimtFlash::kDepth;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int key = 0; key < keys; key += kKeys) {
    auto k_row = [&](int i) { return key + i < keys ? x.k(key + i) : nullptr; };
    auto v_row = [&](int i) { return key + i < keys ? x.v(key + i) : nullptr; };
    float scores[SimtFlash::kRowsEach] = {};
    for (int d = 0; d < x.depth; d += kDepth) {
      __syncthreads();  // whoever reads what was fetched before
      if (key == 0 || x.depth > kDepth)
        fetch_rows<kRows, kDepth, SimtFlash::kStride>(m.q, x.q, x.q_bf16, d, x.depth, x.aligned);
      fetch_rows<kKeys, kDepth, SimtFlash::kStride>(m.k, k_row, x.k_bf16, d, x.depth, x.aligned);
      if (d == 0)
        fetch_rows<kKeys, Columns * kWarp, Columns * kWarp>(m.v, v_row, x.v_bf16, x.column, x.value, x.aligned);
      __syncthreads();
      add_scores(m, min(kDepth, x.depth - d), scores);
    }
#pragma unroll
    for (int r = 0; r < SimtFlash::kRowsEach; r++) {
      const int seen = min(keys, visible + (warp * SimtFlash::kRowsEach + r) * step);
      scores[r] = key + lane < seen ? scores[r] * x.scale : -INFINITY;
    }
    weigh(scores, m.weights[warp], sums);
    add_values(m.v, m.weights[warp], sums);
  }
}

}  // namespace caracal

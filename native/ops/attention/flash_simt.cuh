#pragma once
// FlashAttention in exact f32, for f32 operands and for head dimensions that flash_tensor.cuh has no instance of. A
// block has 32 queries, eight to a warp. Keys come in tiles of 32, one to a lane; queries and keys pass through shared
// memory 64 elements at a time, so that qk_dim has no limit. With a running maximum and sum ("online softmax", Milakov
// & Gimelshein 2018), a lane sums columns lane, lane + 32, ... of its warp's outputs.
//
// A row's bits depend only on its query and its keys: masked keys enter its sums as exact zeros.
#include "cuda/device/index.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "ops/attention/flash.kernels.h"

namespace caracal {

struct SimtFlash : SimtFlashTile {
  static constexpr int kWarps = kThreads / kWarp, kWarpRows = kRows / kWarps, kKeys = 32, kDepth = 64;
  static constexpr int kStride = kDepth + 4;  // 16 bytes of eight rows are in distinct banks
  static_assert(kKeys == kWarp, "a lane scores one key of a tile");
  static_assert(kRows % kWarps == 0 && kDepth % 4 == 0 && kStride % 4 == 0, "elements are moved four at a time");
};

template <int Columns>
struct SimtFlashMemory {
  alignas(16) float q[SimtFlash::kRows * SimtFlash::kStride], k[SimtFlash::kKeys * SimtFlash::kStride];
  float v[SimtFlash::kKeys * Columns * kWarp];
  float weights[SimtFlash::kWarps][SimtFlash::kWarpRows * SimtFlash::kKeys];
};
static_assert(sizeof(SimtFlashMemory<SimtFlashTile::kMaxColumns>) <= 48 << 10,
              "static shared memory is 48 KiB at most");

// The state of a warp's rows; a lane has Columns columns of their outputs.
template <int Columns>
struct SimtFlashState {
  float max[SimtFlash::kWarpRows], sum[SimtFlash::kWarpRows];
  float o[SimtFlash::kWarpRows][Columns];

  __device__ void clear() {
#pragma unroll
    for (int r = 0; r < SimtFlash::kWarpRows; r++) {
      max[r] = -INFINITY;
      sum[r] = 0;
#pragma unroll
      for (int c = 0; c < Columns; c++) o[r][c] = 0;
    }
  }
};

// Loads Rows rows of elements [from, from + Width); elements beyond `width` become zeros. row(i) is the address of
// row i, null for a row of zeros.
template <int Rows, int Width, int Stride, class Row>
__device__ inline void load_rows(float* to, Row row, bool is_bf16, int from, int width, bool aligned) {
  constexpr int kPerRow = Width / 4;
#pragma unroll 2
  for (int i = thread_index(); i < Rows * kPerRow; i += SimtFlash::kThreads) {
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

// scores[r] += q_r . k_lane over the elements in shared memory.
template <class Memory>
__device__ inline void add_scores(const Memory& m, int depth, float (&scores)[SimtFlash::kWarpRows]) {
  const int lane = lane_index();
  const float* q = m.q + warp_index() * SimtFlash::kWarpRows * SimtFlash::kStride;
#pragma unroll 2
  for (int d = 0; d < depth; d += 4) {
    float k[4];
    load<4>(m.k + lane * SimtFlash::kStride + d, k);
#pragma unroll
    for (int r = 0; r < SimtFlash::kWarpRows; r++) {
      float x[4];
      load<4>(q + r * SimtFlash::kStride + d, x);
#pragma unroll
      for (int j = 0; j < 4; j++) scores[r] = fmaf(x[j], k[j], scores[r]);
    }
  }
}

// Turns scores, -inf where the lane's key is masked, into weights and rescales the state to the new maxima.
template <int Columns>
__device__ inline void update_softmax(const float (&scores)[SimtFlash::kWarpRows], float* weights,
                                      SimtFlashState<Columns>& state) {
#pragma unroll
  for (int r = 0; r < SimtFlash::kWarpRows; r++) {
    float largest = scores[r];
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, step));
    largest = fmaxf(largest, state.max[r]);
    const float base = largest == -INFINITY ? 0.0f : largest;  // all keys so far are masked
    const float factor = exp2f(state.max[r] - base), weight = exp2f(scores[r] - base);
    state.max[r] = largest;
    state.sum[r] = fmaf(state.sum[r], factor, warp_sum(weight));
#pragma unroll
    for (int c = 0; c < Columns; c++) state.o[r][c] *= factor;
    weights[r * SimtFlash::kKeys + lane_index()] = weight;
  }
  __syncwarp();
}

// o += weights . v
template <int Columns>
__device__ inline void add_values(const float* v, const float* weights, SimtFlashState<Columns>& state) {
  const int lane = lane_index();
#pragma unroll 2
  for (int k = 0; k < SimtFlash::kKeys; k += 4) {
    float value[4][Columns];
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int c = 0; c < Columns; c++) value[j][c] = v[((k + j) * Columns + c) * kWarp + lane];
#pragma unroll
    for (int r = 0; r < SimtFlash::kWarpRows; r++) {
      float w[4];
      load<4>(weights + r * SimtFlash::kKeys + k, w);
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int c = 0; c < Columns; c++) state.o[r][c] = fmaf(w[j], value[j][c], state.o[r][c]);
    }
  }
}

// The operands of one block: q(r), k(i) and v(i) are addresses of rows, null for rows of zeros.
template <class Q, class K, class V>
struct SimtFlashOperands {
  Q q;
  K k;
  V v;
  bool q_bf16, k_bf16, v_bf16, aligned;
  int qk_dim, v_dim;
  int column;  // the block's first column of the values
  float scale;
};

// Adds keys [0, keys). Row r attends to keys before visible + r * step.
template <int Columns, class Operands>
__device__ inline void attend(SimtFlashMemory<Columns>& m, const Operands& x, int keys, int visible, int step,
                              SimtFlashState<Columns>& state) {
  constexpr int kRows = SimtFlash::kRows, kKeys = SimtFlash::kKeys, kDepth = SimtFlash::kDepth;
  const int lane = lane_index(), warp = warp_index();
  for (int key = 0; key < keys; key += kKeys) {
    auto k_row = [&](int i) { return key + i < keys ? x.k(key + i) : nullptr; };
    auto v_row = [&](int i) { return key + i < keys ? x.v(key + i) : nullptr; };
    float scores[SimtFlash::kWarpRows] = {};
    for (int d = 0; d < x.qk_dim; d += kDepth) {
      __syncthreads();  // wait until all warps have used the previous elements
      if (key == 0 || x.qk_dim > kDepth)
        load_rows<kRows, kDepth, SimtFlash::kStride>(m.q, x.q, x.q_bf16, d, x.qk_dim, x.aligned);
      load_rows<kKeys, kDepth, SimtFlash::kStride>(m.k, k_row, x.k_bf16, d, x.qk_dim, x.aligned);
      if (d == 0)
        load_rows<kKeys, Columns * kWarp, Columns * kWarp>(m.v, v_row, x.v_bf16, x.column, x.v_dim, x.aligned);
      __syncthreads();
      add_scores(m, min(kDepth, x.qk_dim - d), scores);
    }
#pragma unroll
    for (int r = 0; r < SimtFlash::kWarpRows; r++) {
      const int row_keys = min(keys, visible + (warp * SimtFlash::kWarpRows + r) * step);
      scores[r] = key + lane < row_keys ? scores[r] * x.scale : -INFINITY;
    }
    update_softmax(scores, m.weights[warp], state);
    add_values(m.v, m.weights[warp], state);
  }
}

}  // namespace caracal

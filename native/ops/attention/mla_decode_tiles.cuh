#pragma once
// Attention of the heads of one query over latents of 512 + 64, on tensor cores: bf16 q~ and cache, f32 scores and sums.
// All heads of a block read a latent that is in shared memory once, as key and as value. A block has 8 warps: two of them
// share the scores of 16 heads, sixteen keys each; every warp sums 64 of the 512 columns for all heads. Whatever the
// number of heads, every sum is made by the same instructions in the same order.
#include "ops/attention/flash_tensor.cuh"
#include "ops/attention/mla_decode.kernels.h"

namespace caracal {

template <int Heads>
struct TensorDecode : MlaSplitTile {
  static constexpr int kHeads = Heads, kGroups = Heads / 16;  // of 16 heads
  static constexpr int kChunks = kWidth / 8, kSteps = kWidth / 16;
  static constexpr int kColumns = kLatent / kWarps, kTiles = kColumns / 8;  // a warp's

  using Memory = MlaSplitMemory<Heads>;
  using Sums = float[kGroups][kTiles][4];

  // Of rows lane / 4 and lane / 4 + 8 of a group; the sum is of its half of the keys.
  struct Row {
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  };

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  static __device__ int warp() { return static_cast<int>(threadIdx.x) / kWarp; }

  // Scores of one group with one half of the keys, times `scale`, and what is largest in each row.
  static __device__ void score(Memory& m, const uint8_t* keys, int left, float scale, float (&scores)[2][4]) {
    const int group = warp() % kGroups * 16, half = warp() / kGroups;
#pragma unroll 4
    for (int i = 0; i < kSteps; i++) {
      uint32_t a[4], b[4];
      ptx::ldmatrix_x4(a, m.q + flash_place<kChunks>(group + lane() % 16, i * 2, lane() / 16));
      ptx::ldmatrix_x4(b, keys + flash_place<kChunks>(half * 16 + lane() / 16 * 8 + lane() % 8, i * 2, lane() / 8 % 2));
      ptx::mma_m16n8k16(scores[0], a, b[0], b[1]);
      ptx::mma_m16n8k16(scores[1], a, b[2], b[3]);
    }
    scale_rows(scores, scale, scale);
    mask(scores, left - half * 16, left - half * 16);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float most =
          quad_max(fmaxf(fmaxf(scores[0][2 * r], scores[0][2 * r + 1]), fmaxf(scores[1][2 * r], scores[1][2 * r + 1])));
      if (lane() % 4 == 0) m.max[half][group + lane() / 4 + 8 * r] = most;
    }
  }

  // Those become weights; both halves know each other's maxima.
  static __device__ void weigh(Memory& m, float (&scores)[2][4], Row& row) {
    const int group = warp() % kGroups * 16, half = warp() / kGroups;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int head = group + lane() / 4 + 8 * r;
      const float most = fmaxf(row.max[r], fmaxf(m.max[0][head], m.max[1][head]));
      const float base = most == -INFINITY ? 0.0f : most;
      const float factor = exp2f(row.max[r] - base);
      row.max[r] = most;
      float total = 0;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        float (&s)[4] = scores[i];
        s[2 * r] = exp2f(s[2 * r] - base);
        s[2 * r + 1] = exp2f(s[2 * r + 1] - base);
        total += s[2 * r] + s[2 * r + 1];
        uint8_t* to = m.weights + flash_place<kKeys / 8>(head, half * 2, i) + lane() % 4 * 4;
        *reinterpret_cast<uint32_t*>(to) = pack(s[2 * r], s[2 * r + 1]);
      }
      row.sum[r] = fmaf(row.sum[r], factor, quad_sum(total));
      if (half == 0 && lane() % 4 == 0) m.factor[head] = factor;
    }
  }

  static __device__ void add_values(const Memory& m, const uint8_t* keys, Sums& sums) {
#pragma unroll
    for (int g = 0; g < kGroups; g++)
      scale_rows(sums[g], m.factor[g * 16 + lane() / 4], m.factor[g * 16 + lane() / 4 + 8]);
#pragma unroll
    for (int key = 0; key < kKeys; key += 16) {
      uint32_t b[kTiles / 2][4];
#pragma unroll
      for (int i = 0; i < kTiles; i += 2)
        ptx::ldmatrix_x4_trans(b[i / 2],
                               keys + warp() * kColumns * 2 + flash_place<kChunks>(key + lane() % 16, i, lane() / 16));
#pragma unroll
      for (int g = 0; g < kGroups; g++) {
        uint32_t a[4];
        ptx::ldmatrix_x4(a, m.weights + flash_place<kKeys / 8>(g * 16 + lane() % 16, key / 8, lane() / 16));
#pragma unroll
        for (int i = 0; i < kTiles; i++) ptx::mma_m16n8k16(sums[g][i], a, b[i / 2][i % 2 * 2], b[i / 2][i % 2 * 2 + 1]);
      }
    }
  }

  // Takes in `keys` keys, those of m.rows. Afterwards m.max[0] and m.sum hold what is known of every head.
  template <class Q>
  static __device__ void attend(Memory& m, Q q_row, const void* any, int keys, float scale, Sums& sums) {
    copy_rows<Heads, kWidth, kThreads>(m.q, q_row, any);
    auto start = [&](int key) {
      if (key < keys)
        copy_rows<kKeys, kWidth, kThreads>(
            m.keys[key / kKeys % 2], [&](int i) { return key + i < keys ? m.rows[key + i] : nullptr; }, any);
      ptx::cp_async_commit();
    };
    start(0);
    const bool scores_here = warp() < 2 * kGroups;
    Row row;
#pragma unroll 1
    for (int key = 0; key < keys; key += kKeys) {
      ptx::cp_async_wait<0>();
      __syncthreads();  // everyone's copies are there, and everyone has done with the half that is filled next
      start(key + kKeys);
      const uint8_t* here = m.keys[key / kKeys % 2];
      float scores[2][4] = {};
      if (scores_here) score(m, here, keys - key, scale, scores);
      __syncthreads();
      if (scores_here) weigh(m, scores, row);
      __syncthreads();
      add_values(m, here, sums);
    }
    __syncthreads();
    const int head = warp() % kGroups * 16 + lane() / 4, half = warp() / kGroups;
    if (scores_here && lane() % 4 == 0)
      for (int r = 0; r < 2; r++) {
        m.sum[half][head + 8 * r] = row.sum[r];
        if (half == 0) m.max[0][head + 8 * r] = row.max[r];
      }
    __syncthreads();
  }
};

}  // namespace caracal

#pragma once
// Attention of the heads of one query over latents of 512 + 64 on tensor cores: bf16 q~ and cache, f32 scores and sums.
// Shared memory holds each latent once, as key and as value of all heads of the block. Of the 8 warps, two share the
// scores of 16 heads, with sixteen keys each; every warp sums 64 of the 512 columns for all heads. Instructions and
// their order are the same for every number of heads, so it does not affect bits.
#include "ops/attention/flash_tensor.cuh"
#include "ops/attention/mla_decode.kernels.h"

namespace caracal {

template <int Heads>
struct MlaSplitTensor : MlaSplitTile {
  static constexpr int kHeads = Heads, kGroups = Heads / 16;  // groups of 16 heads
  static constexpr int kChunks = kWidth / 8, kSteps = kWidth / 16;
  static constexpr int kColumns = kLatent / kWarps, kTiles = kColumns / 8;  // of one warp
  static_assert(Heads % 16 == 0 && 2 * kGroups <= kWarps, "two warps score each group of 16 heads");
  static_assert(kKeys == 32, "each of the two warps scores 16 keys");
  static_assert(kSplitKeys % kKeys == 0, "only the last tile of a sequence is partial");
  static_assert(kColumns % 16 == 0 && kWidth % 16 == 0, "the tensor instruction takes 16 elements at a time");

  using Memory = MlaSplitMemory<Heads>;
  using Sums = float[kGroups][kTiles][4];

  // The softmax state of rows lane / 4 and lane / 4 + 8 of a group; sums cover the warp's half of the keys.
  struct Row {
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  };

  // Computes the scores of one group for one half of the keys, and the maximum of each row. Keys from keys_left on are
  // masked.
  static __device__ void score(Memory& m, const uint8_t* keys, int keys_left, float scale, float (&scores)[2][4]) {
    const int lane = lane_index(), warp = warp_index(), group = warp % kGroups * 16, half = warp / kGroups;
#pragma unroll 4
    for (int i = 0; i < kSteps; i++) {
      uint32_t a[4], b[4];
      ptx::ldmatrix_x4(a, m.q + swizzled_offset<kChunks>(group + lane % 16, i * 2, lane / 16));
      ptx::ldmatrix_x4(b, keys + swizzled_offset<kChunks>(half * 16 + lane / 16 * 8 + lane % 8, i * 2, lane / 8 % 2));
      ptx::mma_m16n8k16(scores[0], a, b[0], b[1]);
      ptx::mma_m16n8k16(scores[1], a, b[2], b[3]);
    }
    scale_rows(scores, scale, scale);
    mask(scores, keys_left - half * 16, keys_left - half * 16);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float largest =
          quad_max(fmaxf(fmaxf(scores[0][2 * r], scores[0][2 * r + 1]), fmaxf(scores[1][2 * r], scores[1][2 * r + 1])));
      if (lane % 4 == 0) m.max[half][group + lane / 4 + 8 * r] = largest;
    }
  }

  // Turns scores into weights, relative to the maximum of both halves.
  static __device__ void update_softmax(Memory& m, float (&scores)[2][4], Row& row) {
    const int lane = lane_index(), warp = warp_index(), group = warp % kGroups * 16, half = warp / kGroups;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int head = group + lane / 4 + 8 * r;
      const float largest = fmaxf(row.max[r], fmaxf(m.max[0][head], m.max[1][head]));
      const float base = largest == -INFINITY ? 0.0f : largest;  // all keys so far are masked
      const float factor = exp2f(row.max[r] - base);
      row.max[r] = largest;
      float total = 0;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        float (&s)[4] = scores[i];
        s[2 * r] = exp2f(s[2 * r] - base);
        s[2 * r + 1] = exp2f(s[2 * r + 1] - base);
        total += s[2 * r] + s[2 * r + 1];
        uint8_t* to = m.weights + swizzled_offset<kKeys / 8>(head, half * 2, i) + lane % 4 * 4;
        *reinterpret_cast<uint32_t*>(to) = pack(s[2 * r], s[2 * r + 1]);
      }
      row.sum[r] = fmaf(row.sum[r], factor, quad_sum(total));
      if (half == 0 && lane % 4 == 0) m.factor[head] = factor;
    }
  }

  // sums += weights . keys
  static __device__ void add_values(const Memory& m, const uint8_t* keys, Sums& sums) {
    const int lane = lane_index();
#pragma unroll
    for (int g = 0; g < kGroups; g++) scale_rows(sums[g], m.factor[g * 16 + lane / 4], m.factor[g * 16 + lane / 4 + 8]);
#pragma unroll
    for (int key = 0; key < kKeys; key += 16) {
      uint32_t b[kTiles / 2][4];
#pragma unroll
      for (int i = 0; i < kTiles; i += 2)
        ptx::ldmatrix_x4_trans(
            b[i / 2], keys + warp_index() * kColumns * 2 + swizzled_offset<kChunks>(key + lane % 16, i, lane / 16));
#pragma unroll
      for (int g = 0; g < kGroups; g++) {
        uint32_t a[4];
        ptx::ldmatrix_x4(a, m.weights + swizzled_offset<kKeys / 8>(g * 16 + lane % 16, key / 8, lane / 16));
#pragma unroll
        for (int i = 0; i < kTiles; i++) ptx::mma_m16n8k16(sums[g][i], a, b[i / 2][i % 2 * 2], b[i / 2][i % 2 * 2 + 1]);
      }
    }
  }

  // Adds keys [0, keys) of m.rows. Afterwards m.max[0] and m.sum hold the statistics of every head. q_row(r) is the
  // address of head r's query, null for zeros; `any` is a valid address that is not read.
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
    const bool scores_keys = warp_index() < 2 * kGroups;
    Row row;
#pragma unroll 1
    for (int key = 0; key < keys; key += kKeys) {
      ptx::cp_async_wait<0>();
      __syncthreads();  // the stage's copies have arrived, and all warps have used the stage that is filled next
      start(key + kKeys);
      const uint8_t* stage = m.keys[key / kKeys % 2];
      float scores[2][4] = {};
      if (scores_keys) score(m, stage, keys - key, scale, scores);
      __syncthreads();
      if (scores_keys) update_softmax(m, scores, row);
      __syncthreads();
      add_values(m, stage, sums);
    }
    __syncthreads();
    const int lane = lane_index(), warp = warp_index();
    const int head = warp % kGroups * 16 + lane / 4, half = warp / kGroups;
    if (scores_keys && lane % 4 == 0)
      for (int r = 0; r < 2; r++) {
        m.sum[half][head + 8 * r] = row.sum[r];
        if (half == 0) m.max[0][head + 8 * r] = row.max[r];
      }
    __syncthreads();
  }
};

}  // namespace caracal

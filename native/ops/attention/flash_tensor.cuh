#pragma once
// Attention on tensor cores: bf16 queries, keys and values, f32 scores and sums, weights rounded to bf16 (as
// FlashAttention-2 does, Dao 2023). A warp has 16 queries, which stand in registers as the tensor instruction wants them;
// the block's warps share tiles of kKeys keys and values, which cp.async brings into one half of the shared memory while
// the other is used.
//
// A row's bits depend on its query and its keys alone: every sum takes keys in their order, in tiles that begin at
// multiples of kKeys, and keys that a row does not see enter it as exact zeros.
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/ptx/matrix.cuh"
#include "cuda/ptx/memory.cuh"
#include "ops/attention/flash.kernels.h"

namespace caracal {

// Where chunk even + odd (16 bytes) of row `row` stands: chunks are permuted within their rows, so that the same of eight
// neighbouring rows fall into different banks. `even` is a constant for whoever unrolls: then few places are left to
// compute, and the others are a constant away.
template <int Chunks>
__device__ inline int flash_place(int row, int even, int odd) {
  constexpr int kPeriod = Chunks % 8 == 0 ? 8 : Chunks % 4 == 0 ? 4 : 2;
  static_assert(Chunks % 2 == 0);
  const int low = (even % kPeriod + odd) ^ (row / (8 / kPeriod) % kPeriod);
  return (row * Chunks + low) * 16 + even / kPeriod * kPeriod * 16;
}

// Begins to copy Rows rows of Width elements; row(i) is the i-th, null for zeros. `any` is any address.
template <int Rows, int Width, int Threads, class Row>
__device__ inline void copy_rows(uint8_t* to, Row row, const void* any) {
  constexpr int kChunks = Width / 8, kAll = Rows * kChunks;
#pragma unroll 2  // more would keep registers for addresses
  for (int i = 0; i < (kAll + Threads - 1) / Threads; i++) {
    const int chunk = static_cast<int>(threadIdx.x) + i * Threads;
    if (kAll % Threads != 0 && chunk >= kAll) break;
    const auto* from = static_cast<const bf16*>(row(chunk / kChunks));
    ptx::cp_async_16(to + flash_place<kChunks>(chunk / kChunks, chunk % kChunks / 2 * 2, chunk % 2),
                     from ? from + chunk % kChunks * 8 : any, from ? 16 : 0);
  }
}

__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// The largest of, or the sum over, the four lanes that share a row.
__device__ inline float quad_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, 1));
  return fmaxf(v, __shfl_xor_sync(kAllLanes, v, 2));
}
__device__ inline float quad_sum(float v) {
  v += __shfl_xor_sync(kAllLanes, v, 1);
  return v + __shfl_xor_sync(kAllLanes, v, 2);
}

template <int Tiles>
__device__ inline void scale_rows(float (&o)[Tiles][4], float first, float second) {
#pragma unroll
  for (int i = 0; i < Tiles; i++) {
    o[i][0] *= first;
    o[i][1] *= first;
    o[i][2] *= second;
    o[i][3] *= second;
  }
}

// What a lane knows of rows lane / 4 and lane / 4 + 8 of its warp.
template <int Tiles>
struct TensorSums16 {
  float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  float o[Tiles][4] = {};  // columns 8 i + 2 (lane % 4) ... of both rows
};

// scores [16 queries][Keys]: of q's fragments with rows of `k` from `first` on.
template <int Steps, int Keys>
__device__ inline void multiply_keys(const uint8_t* k, const uint32_t (&q)[Steps][4], float (&scores)[Keys / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int step = 0; step < Steps; step++)
#pragma unroll
    for (int key = 0; key < Keys; key += 16) {
      uint32_t b[4];
      ptx::ldmatrix_x4(b, k + flash_place<Steps * 2>(key + lane / 16 * 8 + lane % 8, step * 2, lane / 8 % 2));
      ptx::mma_m16n8k16(scores[key / 8], q[step], b[0], b[1]);
      ptx::mma_m16n8k16(scores[key / 8 + 1], q[step], b[2], b[3]);
    }
}

// Scores become -inf for keys that their row does not see: those from seen[0] on for the first, seen[1] for the second.
template <int Tiles>
__device__ inline void mask(float (&scores)[Tiles][4], int first_seen, int second_seen) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < Tiles; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
      if (i * 8 + column + j % 2 >= (j < 2 ? first_seen : second_seen)) scores[i][j] = -INFINITY;
}

// Scores, in powers of two, become weights; `factor` is what the sums so far are to be multiplied by.
template <int Tiles>
__device__ inline void weigh(float (&scores)[Tiles][4], float (&max)[2], float (&sum)[2], float (&factor)[2]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float most = -INFINITY;
#pragma unroll
    for (int i = 0; i < Tiles; i++) most = fmaxf(most, fmaxf(scores[i][2 * half], scores[i][2 * half + 1]));
    most = fmaxf(max[half], quad_max(most));
    const float base = most == -INFINITY ? 0.0f : most;  // no key seen yet
    factor[half] = exp2f(max[half] - base);
    max[half] = most;
    float total = 0;
#pragma unroll
    for (int i = 0; i < Tiles; i++)
#pragma unroll
      for (int j = 2 * half; j < 2 * half + 2; j++) {
        scores[i][j] = exp2f(scores[i][j] - base);
        total += scores[i][j];
      }
    sum[half] = fmaf(sum[half], factor[half], quad_sum(total));
  }
}

// o += weights . v
template <int Keys, int Tiles>
__device__ inline void add_values(const uint8_t* v, const float (&weights)[Keys / 8][4], float (&o)[Tiles][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int key = 0; key < Keys; key += 16) {
    const float (&low)[4] = weights[key / 8], (&high)[4] = weights[key / 8 + 1];
    const uint32_t a[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]), pack(high[2], high[3])};
#pragma unroll
    for (int i = 0; i < Tiles; i += 2) {
      uint32_t b[4];
      ptx::ldmatrix_x4_trans(b, v + flash_place<Tiles>(key + lane % 16, i, lane / 16));
      ptx::mma_m16n8k16(o[i], a, b[0], b[1]);
      ptx::mma_m16n8k16(o[i + 1], a, b[2], b[3]);
    }
  }
}

template <TensorFlashShape Shape>
struct TensorFlash {
  static constexpr int kDepth = Shape.depth, kValue = Shape.value;
  static constexpr int kThreads = Shape.threads(), kRows = Shape.rows(), kKeys = Shape.kKeys;
  static constexpr int kSteps = kDepth / 16, kTiles = kValue / 8;
  static constexpr int kKeyBytes = kKeys * kDepth * 2, kStage = kKeyBytes + kKeys * kValue * 2;
  static_assert(2 * kStage == Shape.shared_bytes(), "the host asks for another size of the ring");
  static_assert(kRows * kDepth * 2 <= 2 * kStage && kRows * kValue * 2 <= 2 * kStage,
                "queries and outputs pass through the ring");
  using Sums = TensorSums16<kTiles>;

  // Takes in keys [0, keys); the block's row r sees those before `visible` + r * `step`. The rows' addresses are given
  // by q(r), k(i) and v(i), null for zeros.
  template <class Q, class K, class V>
  __device__ static void attend(uint8_t* shared, Q q_row, K k_row, V v_row, const void* any, int keys, int visible,
                                int step, float scale, Sums& sums) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    copy_rows<kRows, kDepth, kThreads>(shared, q_row, any);
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncthreads();
    uint32_t q[kSteps][4];
#pragma unroll
    for (int i = 0; i < kSteps; i++)
      ptx::ldmatrix_x4(q[i], shared + flash_place<kSteps * 2>(warp * 16 + lane % 16, i * 2, lane / 16));
    __syncthreads();
    auto start = [&](int key) {
      if (key >= keys) return;
      uint8_t* to = shared + key / kKeys % 2 * kStage;
      copy_rows<kKeys, kDepth, kThreads>(to, [&](int i) { return key + i < keys ? k_row(key + i) : nullptr; }, any);
      copy_rows<kKeys, kValue, kThreads>(
          to + kKeyBytes, [&](int i) { return key + i < keys ? v_row(key + i) : nullptr; }, any);
      ptx::cp_async_commit();
    };
    const int row = warp * 16 + lane / 4;
    start(0);
#pragma unroll 1
    for (int key = 0; key < keys; key += kKeys) {
      ptx::cp_async_wait<0>();
      __syncthreads();  // everyone's copies are there, and everyone has done with the half that is filled next
      start(key + kKeys);
      const uint8_t* k = shared + key / kKeys % 2 * kStage;
      float scores[kKeys / 8][4] = {};
      multiply_keys<kSteps, kKeys>(k, q, scores);
      scale_rows(scores, scale, scale);
      const int seen = min(keys, visible + warp * 16 * step) - key;  // by the warp's first row, which sees least
      if (seen < kKeys)
        mask(scores, min(keys, visible + row * step) - key, min(keys, visible + (row + 8) * step) - key);
      float factor[2];
      weigh(scores, sums.max, sums.sum, factor);
      scale_rows(sums.o, factor[0], factor[1]);
      add_values<kKeys>(k + kKeyBytes, scores, sums.o);
    }
  }

  // Rows pass through shared memory, so that a lane has the neighbouring columns that 16 bytes hold. row(i) says where
  // the block's i-th goes, null for nowhere.
  template <class Row>
  __device__ static void finish(uint8_t* shared, Sums& sums, Row out) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    __syncthreads();  // whoever uses the last keys and values
    scale_rows(sums.o, sums.sum[0] == 0 ? 0.0f : 1.0f / sums.sum[0], sums.sum[1] == 0 ? 0.0f : 1.0f / sums.sum[1]);
#pragma unroll
    for (int i = 0; i < kTiles; i++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        *reinterpret_cast<uint32_t*>(shared + flash_place<kTiles>(warp * 16 + lane / 4 + 8 * half, i / 2 * 2, i % 2) +
                                     lane % 4 * 4) = pack(sums.o[i][2 * half], sums.o[i][2 * half + 1]);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kTiles / 2; i++) {  // a warp's 16 rows
      const int chunk = lane + i * kWarp, r = warp * 16 + chunk / kTiles;
      if (bf16* to = out(r))
        ptx::store_global_16(
            to + chunk % kTiles * 8,
            *reinterpret_cast<const uint4*>(shared + flash_place<kTiles>(r, chunk % kTiles / 2 * 2, chunk % 2)));
    }
  }
};

}  // namespace caracal

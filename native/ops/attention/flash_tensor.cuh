#pragma once
// FlashAttention on tensor cores: bf16 queries, keys and values; f32 scores and sums; weights rounded to bf16 (as in
// FlashAttention-2, Dao 2023). A warp holds the fragments of 16 queries in registers. The block's warps share tiles of
// kKeys keys and values, which cp.async loads into one half of the shared memory while the other half is used.
//
// A row's bits depend only on its query and its keys: every sum takes the keys in order, in tiles that begin at
// multiples of kKeys, and masked keys enter it as exact zeros.
#include "core/math.h"
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "cuda/ptx/matrix.cuh"
#include "cuda/ptx/memory.cuh"
#include "ops/attention/flash.kernels.h"

namespace caracal {

// The swizzled byte offset of chunk even + odd (16 bytes) of a row of Chunks chunks: chunks are permuted within rows,
// so that the same chunk of eight neighbouring rows is in different banks. In unrolled loops `even` is a constant,
// which leaves few addresses to compute; the others are at constant offsets from them.
template <int Chunks>
__device__ inline int swizzled_offset(int row, int even, int odd) {
  static_assert(Chunks % 2 == 0, "chunks are permuted in pairs at least");
  constexpr int kPeriod = Chunks % 8 == 0 ? 8 : Chunks % 4 == 0 ? 4 : 2;
  const int low = (even % kPeriod + odd) ^ (row / (8 / kPeriod) % kPeriod);
  return (row * Chunks + low) * 16 + even / kPeriod * kPeriod * 16;
}

// Starts copying Rows rows of Width elements. row(i) is the address of row i, null for a row of zeros; `any` is a valid
// address that is not read.
template <int Rows, int Width, int Threads, class Row>
__device__ inline void copy_rows(uint8_t* to, Row row, const void* any) {
  static_assert(Width % 8 == 0, "a chunk is eight elements");
  constexpr int kChunks = Width / 8, kAll = Rows * kChunks;
#pragma unroll 2  // further unrolling would spend registers on addresses
  for (int i = 0; i < divide_up(kAll, Threads); i++) {
    const int chunk = thread_index() + i * Threads;
    if (kAll % Threads != 0 && chunk >= kAll) break;
    const auto* from = static_cast<const bf16*>(row(chunk / kChunks));
    ptx::cp_async_16(to + swizzled_offset<kChunks>(chunk / kChunks, chunk % kChunks / 2 * 2, chunk % 2),
                     from ? from + chunk % kChunks * 8 : any, from ? 16 : 0);
  }
}

__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// The maximum and the sum over the four lanes that share a row.
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

// The state of rows lane / 4 and lane / 4 + 8 of a warp.
template <int Tiles>
struct TensorFlashState {
  float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  float o[Tiles][4] = {};  // columns 8 i + 2 (lane % 4) ... of both rows
};

// scores [16 queries][Keys] += fragments of q . rows of k
template <int Steps, int Keys>
__device__ inline void multiply_keys(const uint8_t* k, const uint32_t (&q)[Steps][4], float (&scores)[Keys / 8][4]) {
  const int lane = lane_index();
#pragma unroll
  for (int step = 0; step < Steps; step++)
#pragma unroll
    for (int key = 0; key < Keys; key += 16) {
      uint32_t b[4];
      ptx::ldmatrix_x4(b, k + swizzled_offset<Steps * 2>(key + lane / 16 * 8 + lane % 8, step * 2, lane / 8 % 2));
      ptx::mma_m16n8k16(scores[key / 8], q[step], b[0], b[1]);
      ptx::mma_m16n8k16(scores[key / 8 + 1], q[step], b[2], b[3]);
    }
}

// Sets the scores of keys from first_keys on to -inf in the lane's first row, and of keys from second_keys on in its
// second.
template <int Tiles>
__device__ inline void mask(float (&scores)[Tiles][4], int first_keys, int second_keys) {
  const int column = thread_index() % 4 * 2;
#pragma unroll
  for (int i = 0; i < Tiles; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
      if (i * 8 + column + j % 2 >= (j < 2 ? first_keys : second_keys)) scores[i][j] = -INFINITY;
}

// Turns scores into weights; the state's outputs are yet to be multiplied by `factor`.
template <int Tiles>
__device__ inline void update_softmax(float (&scores)[Tiles][4], float (&max)[2], float (&sum)[2], float (&factor)[2]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float largest = -INFINITY;
#pragma unroll
    for (int i = 0; i < Tiles; i++) largest = fmaxf(largest, fmaxf(scores[i][2 * half], scores[i][2 * half + 1]));
    largest = fmaxf(max[half], quad_max(largest));
    const float base = largest == -INFINITY ? 0.0f : largest;  // all keys so far are masked
    factor[half] = exp2f(max[half] - base);
    max[half] = largest;
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
  const int lane = lane_index();
#pragma unroll
  for (int key = 0; key < Keys; key += 16) {
    const float (&low)[4] = weights[key / 8], (&high)[4] = weights[key / 8 + 1];
    const uint32_t a[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]), pack(high[2], high[3])};
#pragma unroll
    for (int i = 0; i < Tiles; i += 2) {
      uint32_t b[4];
      ptx::ldmatrix_x4_trans(b, v + swizzled_offset<Tiles>(key + lane % 16, i, lane / 16));
      ptx::mma_m16n8k16(o[i], a, b[0], b[1]);
      ptx::mma_m16n8k16(o[i + 1], a, b[2], b[3]);
    }
  }
}

template <TensorFlashShape Shape>
struct TensorFlash {
  static constexpr int kQkDim = Shape.qk_dim, kVDim = Shape.v_dim;
  static constexpr int kThreads = Shape.threads(), kRows = Shape.rows(), kKeys = Shape.kKeys;
  static constexpr int kSteps = kQkDim / 16, kTiles = kVDim / 8;
  static constexpr int kKeyBytes = kKeys * kQkDim * 2, kStage = kKeyBytes + kKeys * kVDim * 2;
  static_assert(kQkDim % 16 == 0 && kVDim % 16 == 0, "the tensor instruction takes 16 elements at a time");
  static_assert(2 * kStage == Shape.shared_bytes(), "the host asks for another size of shared memory");
  static_assert(kRows * kQkDim * 2 <= 2 * kStage && kRows * kVDim * 2 <= 2 * kStage,
                "queries and outputs pass through the memory of the stages");
  static_assert(Shape.shared_bytes() <= 99 << 10, "fits a block of every GPU from sm_80 on");
  static_assert(kStage % 128 == 0, "a stage begins at a multiple of 128 bytes, as the swizzle assumes");
  using State = TensorFlashState<kTiles>;

  // Adds keys [0, keys). Row r of the block attends to keys before visible + r * step. q(r), k(i) and v(i) are
  // addresses of rows, null for rows of zeros; `any` is a valid address that is not read.
  template <class Q, class K, class V>
  __device__ static void attend(uint8_t* shared, Q q_row, K k_row, V v_row, const void* any, int keys, int visible,
                                int step, float scale, State& state) {
    const int lane = lane_index(), warp = warp_index();
    copy_rows<kRows, kQkDim, kThreads>(shared, q_row, any);
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncthreads();
    uint32_t q[kSteps][4];
#pragma unroll
    for (int i = 0; i < kSteps; i++)
      ptx::ldmatrix_x4(q[i], shared + swizzled_offset<kSteps * 2>(warp * 16 + lane % 16, i * 2, lane / 16));
    __syncthreads();
    auto start = [&](int key) {
      if (key >= keys) return;
      uint8_t* to = shared + key / kKeys % 2 * kStage;
      copy_rows<kKeys, kQkDim, kThreads>(to, [&](int i) { return key + i < keys ? k_row(key + i) : nullptr; }, any);
      copy_rows<kKeys, kVDim, kThreads>(
          to + kKeyBytes, [&](int i) { return key + i < keys ? v_row(key + i) : nullptr; }, any);
      ptx::cp_async_commit();
    };
    const int row = warp * 16 + lane / 4;
    start(0);
#pragma unroll 1
    for (int key = 0; key < keys; key += kKeys) {
      ptx::cp_async_wait<0>();
      __syncthreads();  // the stage's copies have arrived, and all warps have used the stage that is filled next
      start(key + kKeys);
      const uint8_t* k = shared + key / kKeys % 2 * kStage;
      float scores[kKeys / 8][4] = {};
      multiply_keys<kSteps, kKeys>(k, q, scores);
      scale_rows(scores, scale, scale);
      const int min_keys = min(keys, visible + warp * 16 * step) - key;  // of the warp's first row, which has fewest
      if (min_keys < kKeys)
        mask(scores, min(keys, visible + row * step) - key, min(keys, visible + (row + 8) * step) - key);
      float factor[2];
      update_softmax(scores, state.max, state.sum, factor);
      scale_rows(state.o, factor[0], factor[1]);
      add_values<kKeys>(k + kKeyBytes, scores, state.o);
    }
  }

  // Writes the outputs. They pass through shared memory, which gives each lane eight neighbouring columns to store at
  // once. out(r) is the address of row r of the block, null for a row that is not stored.
  template <class Row>
  __device__ static void finish(uint8_t* shared, State& state, Row out) {
    const int lane = lane_index(), warp = warp_index();
    __syncthreads();  // wait until all warps have used the last keys and values
    scale_rows(state.o, state.sum[0] == 0 ? 0.0f : 1.0f / state.sum[0], state.sum[1] == 0 ? 0.0f : 1.0f / state.sum[1]);
#pragma unroll
    for (int i = 0; i < kTiles; i++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        *reinterpret_cast<uint32_t*>(
            shared + swizzled_offset<kTiles>(warp * 16 + lane / 4 + 8 * half, i / 2 * 2, i % 2) + lane % 4 * 4) =
            pack(state.o[i][2 * half], state.o[i][2 * half + 1]);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kTiles / 2; i++) {  // the warp's 16 rows
      const int chunk = lane + i * kWarp, r = warp * 16 + chunk / kTiles;
      if (bf16* to = out(r))
        ptx::store_global_16(
            to + chunk % kTiles * 8,
            *reinterpret_cast<const uint4*>(shared + swizzled_offset<kTiles>(r, chunk % kTiles / 2 * 2, chunk % 2)));
    }
  }
};

}  // namespace caracal

#pragma once
// Moves a tile of rows from global into shared memory, 16 bytes at a time. The 16-byte chunks of a row are permuted so
// that the chunks which ldmatrix reads at once lie in different banks.
#include "cuda/device/f8e4m3.cuh"
#include "cuda/device/index.cuh"
#include "cuda/gemm/gemm.kernels.h"
#include "cuda/ptx/async.cuh"

namespace caracal {

enum class Swizzle {
  rows128,  // rows of 128 bytes, for ldmatrix
  pairs,    // rows of 128 bytes, for lanes that read 8 bytes of two chunks: pairs of chunks stay together
  fours,    // rows of 128 bytes, for lanes of which four read neighbouring chunks of a row
  rows64,   // rows of 64 bytes, for ldmatrix
  rows32,   // rows of 32 bytes, for ldmatrix
  none,     // for lanes that read neighbouring chunks
};

template <Swizzle S>
__device__ inline int swizzled(int row, int chunk) {
  if constexpr (S == Swizzle::rows128) return row * 128 + (chunk ^ (row & 7)) * 16;
  if constexpr (S == Swizzle::pairs) return row * 128 + (chunk ^ (row & 3) << 1) * 16;
  if constexpr (S == Swizzle::fours) return row * 128 + (chunk ^ (row & 1) << 2) * 16;
  if constexpr (S == Swizzle::rows32) return row * 32 + (chunk ^ (row >> 2 & 1)) * 16;
  return row * 64 + (chunk ^ (row >> 1 & 3)) * 16;
}

template <Swizzle S>
constexpr int kSwizzledBytes = S == Swizzle::rows64   ? 64
                               : S == Swizzle::rows32 ? 32
                                                      : 128;  // of a row

// K elements of each row per stage.
template <class T, int Rows, int Threads, Swizzle S, int K = kTileK>
class TileLoad {
  static_assert(S == Swizzle::none || K * sizeof(T) == kSwizzledBytes<S>, "the swizzle is for rows of another length");
  static constexpr int kElements = 16 / sizeof(T), kPerRow = K / kElements, kChunks = Rows * kPerRow;
  static constexpr int kEach = (kChunks + Threads - 1) / Threads;

 public:
  static constexpr int kBytes = Rows * K * static_cast<int>(sizeof(T));

  // row(i) returns row i of the tile, or null if it does not exist and reads as zeros. `any` is any valid address.
  template <class Row>
  __device__ TileLoad(Row row, const void* any) : any_(any) {
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      const int chunk = thread_index() + i * Threads;
      rows_[i] = chunk < kChunks ? row(chunk / kPerRow) : nullptr;
    }
  }

  // Starts copying elements [k, k + K) of every row; elements past the depth read as zeros.
  __device__ void start(uint8_t* tile, long long k, long long depth, bool aligned) const {
    if (aligned && k + K <= depth)
      each_chunk([&](int i, int chunk) {
        const T* from = rows_[i] + k + chunk % kPerRow * kElements;
        ptx::cp_async_16(address(tile, chunk), rows_[i] ? from : any_, rows_[i] ? 16 : 0);
      });
    else
      start_edge(tile, k, depth, aligned);
  }

 private:
  template <class F>
  __device__ static void each_chunk(F f) {
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      const int chunk = thread_index() + i * Threads;
      if (kChunks % Threads == 0 || chunk < kChunks) f(i, chunk);
    }
  }
  __device__ static uint8_t* address(uint8_t* tile, int chunk) {
    return tile + (S == Swizzle::none ? chunk * 16 : swizzled<S>(chunk / kPerRow, chunk % kPerRow));
  }

  __device__ void start_edge(uint8_t* tile, long long k, long long depth, bool aligned) const {
    each_chunk([&](int i, int chunk) {
      const long long at = k + chunk % kPerRow * kElements;
      const int count = rows_[i] ? static_cast<int>(min(static_cast<long long>(kElements), max(depth - at, 0ll))) : 0;
      uint8_t* to = address(tile, chunk);
      if (aligned)
        ptx::cp_async_16(to, count > 0 ? rows_[i] + at : any_, count * static_cast<int>(sizeof(T)));
      else
        copy(reinterpret_cast<T*>(to), rows_[i] + at, count);
    });
  }
  __device__ static void copy(T* to, const T* from, int count) {
#pragma unroll 1
    for (int j = 0; j < kElements; j++) to[j] = j < count ? from[j] : T{};
  }

  const T* rows_[kEach];
  const void* any_;
};

}  // namespace caracal

#pragma once
// The router's product, x [M, K] . classifier [N, K]^T, in exact f32.
//
// Sixteen lanes share a sum: each takes 4 of every 64 k, in one chain of fma, and the sixteen chains are added in pairs.
// So a single row keeps the memory busy, the bits of a row do not depend on the tile, and in a large tile a lane has
// enough sums to need few loads.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "cuda/gemm/raster.cuh"
#include "cuda/gemm/tile_load.cuh"
#include "ops/moe/router.kernels.h"

namespace caracal {

constexpr int kSumLanes = 16, kSumK = 4 * kSumLanes;

template <LogitShape Shape>
struct LogitTile {
  static constexpr int kUnitsM = Shape.units_m, kRows = Shape.rows, kColumns = Shape.columns;
  static constexpr int kDepth = Shape.depth, kStages = Shape.stages;
  static constexpr int kTileM = Shape.tile_rows(), kTileN = Shape.tile_columns(), kThreads = Shape.threads();
  template <class X, class W>
  static constexpr size_t kRingBytes = Shape.ring_bytes(sizeof(X), sizeof(W));
  static_assert(kThreads == kUnitsM * Shape.units_n * kSumLanes, "a unit is the lanes that share a sum");
  static_assert(kThreads % kWarp == 0, "a block has whole warps");
  static_assert(kDepth % kSumK == 0, "a stage is whole steps of the lanes that share a sum");
};

// Adds N values over 16 lanes and distributes the sums. If N >= 16, lane l receives the N/16 sums starting at l*N/16;
// otherwise every 16/N-th lane receives one.
template <int Step, int N>
__device__ inline void scatter_sums(float (&v)[N], int lane) {
  if constexpr (Step > 0) {
    constexpr int kHalf = N > 1 ? N / 2 : 1;
    float half[kHalf];
    const bool upper = lane & Step;
#pragma unroll
    for (int i = 0; i < kHalf; i++) {
      const float keep = N > 1 && upper ? v[(i + kHalf) % N] : v[i];
      const float send = N > 1 && upper ? v[i] : v[(i + kHalf) % N];
      half[i] = keep + __shfl_xor_sync(kAllLanes, send, Step);
    }
    scatter_sums<Step / 2>(half, lane);
#pragma unroll
    for (int i = 0; i < kHalf; i++) v[i] = half[i];
  }
}

// Adds the products of one stage of the ring.
template <class Tile, class X, class W>
__device__ inline void multiply_stage(const X* xs, const W* ws, float (&sums)[Tile::kRows * Tile::kColumns]) {
#pragma unroll(Tile::kDepth / kSumK)
  for (int k = 0; k < Tile::kDepth; k += kSumK) {
    float x[Tile::kRows][4];
#pragma unroll
    for (int r = 0; r < Tile::kRows; r++) load<4>(xs + r * Tile::kDepth + k, x[r]);
#pragma unroll
    for (int c = 0; c < Tile::kColumns; c++) {
      float w[4];
      load<4>(ws + c * Tile::kDepth + k, w);
#pragma unroll
      for (int r = 0; r < Tile::kRows; r++)
#pragma unroll
        for (int l = 0; l < 4; l++) {
          float& sum = sums[r * Tile::kColumns + c];
          sum = fmaf(x[r][l], w[l], sum);
        }
    }
  }
}

template <class Tile, class X, class W>
__device__ inline void router_logits(const GemmOperands& p, float* logits) {
  using LoadX = TileLoad<X, Tile::kTileM, Tile::kThreads, Swizzle::none, Tile::kDepth>;
  using LoadW = TileLoad<W, Tile::kTileN, Tile::kThreads, Swizzle::none, Tile::kDepth>;
  constexpr int kStage = LoadX::kBytes + LoadW::kBytes, kStages = Tile::kStages;
  static_assert(kStage * kStages == Tile::template kRingBytes<X, W>, "the host allocates a ring of another size");
  extern __shared__ __align__(128) uint8_t ring[];
  const TilePosition at = tile_position<Tile::kTileM, Tile::kTileN>(p.m, p.n);
  const LoadX x([&](int r) { return at.row + r < p.m ? static_cast<const X*>(p.x) + (at.row + r) * p.k : nullptr; },
                p.x);
  const LoadW w(
      [&](int r) { return at.column + r < p.n ? static_cast<const W*>(p.w[0]) + (at.column + r) * p.k : nullptr; },
      p.w[0]);
  const int stages = static_cast<int>(divide_up(p.k, Tile::kDepth));
  auto start = [&](int stage) {
    if (stage < stages) {
      uint8_t* slot = ring + stage % kStages * kStage;
      x.start(slot, static_cast<long long>(stage) * Tile::kDepth, p.k, p.aligned);
      w.start(slot + LoadX::kBytes, static_cast<long long>(stage) * Tile::kDepth, p.k, p.aligned);
    }
    ptx::cp_async_commit();  // empty groups too, so that waiting can count them
  };
  // The two half-warps of a warp take different rows if possible: both then load the same weights, which the hardware
  // coalesces.
  const int unit = thread_index() / kSumLanes, lane = thread_index() % kSumLanes;
  const int row = unit % Tile::kUnitsM * Tile::kRows, column = unit / Tile::kUnitsM * Tile::kColumns;
  float sums[Tile::kRows * Tile::kColumns] = {};
  for (int i = 0; i < kStages - 1; i++) start(i);
#pragma unroll 1
  for (int stage = 0; stage < stages; stage++) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();  // all copies of this stage have arrived, and the slot that is filled next has been multiplied
    start(stage + kStages - 1);
    const uint8_t* slot = ring + stage % kStages * kStage;
    multiply_stage<Tile>(reinterpret_cast<const X*>(slot) + row * Tile::kDepth + lane * 4,
                         reinterpret_cast<const W*>(slot + LoadX::kBytes) + column * Tile::kDepth + lane * 4, sums);
  }
  scatter_sums<kSumLanes / 2>(sums, lane);
  constexpr int kSums = Tile::kRows * Tile::kColumns, kLaneSums = kSums > kSumLanes ? kSums / kSumLanes : 1;
  static_assert(kSums % kSumLanes == 0 || kSumLanes % kSums == 0, "scatter_sums halves the sums in every step");
  static_assert(Tile::kColumns % kLaneSums == 0, "a lane stores sums of one row");
  constexpr int kLaneStep = kSums < kSumLanes ? kSumLanes / kSums : 1;  // between the lanes that have a sum
  if (lane % kLaneStep != 0) return;
  const int first = lane * kSums / kSumLanes;
  const long long out_row = at.row + row + first / Tile::kColumns;
  const long long out_column = at.column + column + first % Tile::kColumns;
  if (out_row >= p.m) return;
  logits += out_row * p.n + out_column;
#pragma unroll
  for (int i = 0; i < kLaneSums; i += 4) {
    if (kLaneSums % 4 == 0 && p.n % 4 == 0 && out_column + i < p.n) {
      const float v[4] = {sums[i], sums[i + 1], sums[i + 2], sums[i + 3]};
      store<4>(logits + i, v);
    } else {
#pragma unroll
      for (int j = i; j < i + 4 && j < kLaneSums; j++)
        if (out_column + j < p.n) logits[j] = sums[j];
    }
  }
}

}  // namespace caracal

#pragma once
// The router's product, x [M, K] . classifier [N, K]^T, in exact f32.
//
// Sixteen lanes share a sum: each takes 4 of every 64 k, in one chain of fma, and the sixteen are added in pairs. So
// one row can keep the memory busy, a row's bits do not depend on the tile, and a lane has enough sums of a large tile
// to live off few loads.
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
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
  static_assert(kThreads == kUnitsM * Shape.units_n * kSumLanes, "a unit is the lanes that share a sum");
  static_assert(kDepth % kSumK == 0, "a stage is whole steps of the lanes that share a sum");
};

// The sums of N values over the 16 lanes. Of N >= 16, lane l gets the N / 16 from l N / 16 on; of fewer, every
// 16 / N lanes one.
template <int Step, int N>
__device__ inline void scatter_sums(float (&v)[N], int lane) {
  if constexpr (Step > 0) {
    constexpr int kKept = N > 1 ? N / 2 : 1;
    float kept[kKept];
    const bool upper = lane & Step;
#pragma unroll
    for (int i = 0; i < kKept; i++) {
      const float mine = N > 1 && upper ? v[(i + kKept) % N] : v[i];
      const float theirs = N > 1 && upper ? v[i] : v[(i + kKept) % N];
      kept[i] = mine + __shfl_xor_sync(kAllLanes, theirs, Step);
    }
    scatter_sums<Step / 2>(kept, lane);
#pragma unroll
    for (int i = 0; i < kKept; i++) v[i] = kept[i];
  }
}

// From one stage of the ring.
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
  extern __shared__ __align__(128) uint8_t ring[];
  const TilePosition at = tile_position<Tile::kTileM, Tile::kTileN>(p.m, p.n);
  const LoadX x([&](int r) { return at.row + r < p.m ? static_cast<const X*>(p.x) + (at.row + r) * p.k : nullptr; },
                p.x);
  const LoadW w(
      [&](int r) { return at.column + r < p.n ? static_cast<const W*>(p.w[0]) + (at.column + r) * p.k : nullptr; },
      p.w[0]);
  const int stages = static_cast<int>((p.k + Tile::kDepth - 1) / Tile::kDepth);
  auto start = [&](int stage) {
    if (stage < stages) {
      uint8_t* slot = ring + stage % kStages * kStage;
      x.start(slot, static_cast<long long>(stage) * Tile::kDepth, p.k, p.aligned);
      w.start(slot + LoadX::kBytes, static_cast<long long>(stage) * Tile::kDepth, p.k, p.aligned);
    }
    ptx::cp_async_commit();  // empty groups too, so that waiting can count them
  };
  // Two half-warps of a warp have different rows where they can: the weights' lanes read alike are read once.
  const int unit = static_cast<int>(threadIdx.x) / kSumLanes, lane = static_cast<int>(threadIdx.x) % kSumLanes;
  const int row = unit % Tile::kUnitsM * Tile::kRows, column = unit / Tile::kUnitsM * Tile::kColumns;
  float sums[Tile::kRows * Tile::kColumns] = {};
  for (int i = 0; i < kStages - 1; i++) start(i);
#pragma unroll 1
  for (int stage = 0; stage < stages; stage++) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();  // everyone's copies are there, and everyone has multiplied the stage whose slot is filled next
    start(stage + kStages - 1);
    const uint8_t* slot = ring + stage % kStages * kStage;
    multiply_stage<Tile>(reinterpret_cast<const X*>(slot) + row * Tile::kDepth + lane * 4,
                         reinterpret_cast<const W*>(slot + LoadX::kBytes) + column * Tile::kDepth + lane * 4, sums);
  }
  scatter_sums<kSumLanes / 2>(sums, lane);
  constexpr int kSums = Tile::kRows * Tile::kColumns, kEach = kSums > kSumLanes ? kSums / kSumLanes : 1;
  constexpr int kLanes = kSums < kSumLanes ? kSumLanes / kSums : 1;  // that have a sum
  if (lane % kLanes != 0) return;
  const int first = lane * kSums / kSumLanes;
  const long long to_row = at.row + row + first / Tile::kColumns, to = at.column + column + first % Tile::kColumns;
  if (to_row >= p.m) return;
  logits += to_row * p.n + to;
#pragma unroll
  for (int i = 0; i < kEach; i += 4) {
    if (kEach % 4 == 0 && p.n % 4 == 0 && to + i < p.n) {
      const float v[4] = {sums[i], sums[i + 1], sums[i + 2], sums[i + 3]};
      store<4>(logits + i, v);
    } else {
#pragma unroll
      for (int j = i; j < i + 4 && j < kEach; j++)
        if (to + j < p.n) logits[j] = sums[j];
    }
  }
}

}  // namespace caracal

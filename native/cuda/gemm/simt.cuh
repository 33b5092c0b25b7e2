#pragma once
// The product in exact f32: one chain of fma over k = 0 ... K - 1 for every sum, whatever the tile, so a row's bits
// are those of the CPU. For f32 operands; bf16 by bf16 has tensor cores (tensor.cuh).
//
// A tile of x and one of W (both weights' rows, of SwiGLU) stand in shared memory as f32, k innermost; the next ones are
// on their way in registers. A thread sums RowsM rows by RowsN columns, kThreadsM and kThreadsN apart, four k at a time.
#include "cuda/device/f8e4m3.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/gemm/raster.cuh"

namespace caracal {

template <int TileM_, int TileN_, int RowsM_, int RowsN_>
struct SimtTile {
  static constexpr int kTileM = TileM_, kTileN = TileN_, kRowsM = RowsM_, kRowsN = RowsN_;
  static constexpr int kThreadsM = kTileM / kRowsM, kThreadsN = kTileN / kRowsN, kThreads = kThreadsM * kThreadsN;
};

constexpr int kSimtTileK = 32, kSimtStride = kSimtTileK + 4;  // f32: 16 bytes of eight rows fall into all banks
constexpr int kScaleBlock = 128;                              // f8e4m3: one scale per 128 x 128 block of W

// Elements that a thread fetches at once: 16 bytes, or 8 codes.
template <class T>
constexpr int kChunk = sizeof(T) == 4 ? 4 : 8;

// Elements k ... k + 7 of a row; those past its end are 0.
template <class T>
__device__ inline void fetch(const T* row, long long k, long long depth, bool aligned, float scale,
                             float (&v)[kChunk<T>]) {
  if (aligned && k < depth) {
    if constexpr (sizeof(T) == 1) {
      const uint2 raw = *reinterpret_cast<const uint2*>(row + k);
#pragma unroll
      for (int j = 0; j < kChunk<T>; j++)
        v[j] = to_float(f8e4m3{static_cast<uint8_t>((j < 4 ? raw.x : raw.y) >> (j % 4 * 8))}) * scale;
    } else {
      load<kChunk<T>>(row + k, v);
    }
    return;
  }
#pragma unroll
  for (int j = 0; j < kChunk<T>; j++) {
    v[j] = k + j < depth ? to_float(row[k + j]) : 0.0f;
    if constexpr (sizeof(T) == 1) v[j] *= scale;
  }
}

// A tile of Rows rows on its way from global memory, through registers, into shared memory.
template <class T, int Rows, int Threads>
struct SimtFetch {
  static constexpr int kChunk = caracal::kChunk<T>;
  static constexpr int kPerRow = kSimtTileK / kChunk, kChunks = Rows * kPerRow;
  static constexpr int kEach = (kChunks + Threads - 1) / Threads;
  float v[kEach][kChunk];

  // row(i) gives the i-th row of the tile, null for one that is not there; scale(i) its scale.
  template <class Row, class Scale>
  __device__ void start(Row row, Scale scale, long long k, long long depth, bool aligned) {
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      const int chunk = static_cast<int>(threadIdx.x) + i * Threads, r = chunk / kPerRow;
      const T* from = chunk < kChunks ? row(r) : nullptr;
      if (from) {
        fetch(from, k + chunk % kPerRow * kChunk, depth, aligned, scale(r), v[i]);
      } else {
#pragma unroll
        for (int j = 0; j < kChunk; j++) v[i][j] = 0;
      }
    }
  }
  __device__ void finish(float* tile) const {
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      const int chunk = static_cast<int>(threadIdx.x) + i * Threads;
      if (chunk < kChunks) store<kChunk>(tile + chunk / kPerRow * kSimtStride + chunk % kPerRow * kChunk, v[i]);
    }
  }
};

template <int G, class Tile>
__device__ inline void simt_multiply(const float* xs, const float* ws, int tm, int tn,
                                     float (&sums)[G][Tile::kRowsM][Tile::kRowsN]) {
#pragma unroll 2
  for (int k = 0; k < kSimtTileK; k += 4) {
    float x[Tile::kRowsM][4];
#pragma unroll
    for (int i = 0; i < Tile::kRowsM; i++) load<4>(xs + (tm + i * Tile::kThreadsM) * kSimtStride + k, x[i]);
#pragma unroll
    for (int g = 0; g < G; g++) {
#pragma unroll
      for (int j = 0; j < Tile::kRowsN; j++) {
        float w[4];
        load<4>(ws + (g * Tile::kTileN + tn + j * Tile::kThreadsN) * kSimtStride + k, w);
#pragma unroll
        for (int i = 0; i < Tile::kRowsM; i++)
#pragma unroll
          for (int l = 0; l < 4; l++) sums[g][i][j] = fmaf(x[i][l], w[l], sums[g][i][j]);
      }
    }
  }
}

// One tile of the output per block of Tile::kThreads threads. G weights.
template <int G, class Tile, class X, class W, class Epilogue>
__device__ inline void simt_gemm(const GemmOperands& p, const Epilogue& epilogue) {
  __shared__ __align__(16) float xs[Tile::kTileM * kSimtStride];
  __shared__ __align__(16) float ws[G * Tile::kTileN * kSimtStride];
  const auto [row0, column0] = tile_position<Tile::kTileM, Tile::kTileN>(p.m, p.n);
  const int tn = static_cast<int>(threadIdx.x) % Tile::kThreadsN, tm = static_cast<int>(threadIdx.x) / Tile::kThreadsN;
  const long long scale_columns = (p.k + kScaleBlock - 1) / kScaleBlock;
  auto x_row = [&](int r) { return row0 + r < p.m ? static_cast<const X*>(p.x) + (row0 + r) * p.k : nullptr; };
  auto w_row = [&](int r) {
    const long long column = column0 + r % Tile::kTileN;
    return column < p.n ? static_cast<const W*>(p.w[r / Tile::kTileN]) + column * p.k : nullptr;
  };
  SimtFetch<X, Tile::kTileM, Tile::kThreads> x;
  SimtFetch<W, G * Tile::kTileN, Tile::kThreads> w;
  auto start = [&](long long k) {
    auto scale = [&](int r) {
      if constexpr (sizeof(W) > 1) return 1.0f;
      const long long block = (column0 + r % Tile::kTileN) / kScaleBlock * scale_columns + k / kScaleBlock;
      return p.scales[r / Tile::kTileN][block];
    };
    x.start(x_row, [](int) { return 1.0f; }, k, p.k, p.aligned);
    w.start(w_row, scale, k, p.k, p.aligned);
  };
  float sums[G][Tile::kRowsM][Tile::kRowsN] = {};
  if (p.k > 0) start(0);
  for (long long k = 0; k < p.k; k += kSimtTileK) {
    __syncthreads();  // whoever multiplies the tiles before
    x.finish(xs);
    w.finish(ws);
    __syncthreads();
    if (k + kSimtTileK < p.k) start(k + kSimtTileK);
    simt_multiply<G, Tile>(xs, ws, tm, tn, sums);
  }
#pragma unroll 1  // the epilogue is long, and registers have no index: the rows pass by the first
  for (int i = 0; i < Tile::kRowsM; i++) {
    const long long row = row0 + tm + i * Tile::kThreadsM;
#pragma unroll
    for (int j = 0; j < Tile::kRowsN; j++) {
      const long long column = column0 + tn + j * Tile::kThreadsN;
      float sum[G][1];
#pragma unroll
      for (int g = 0; g < G; g++) sum[g][0] = sums[g][0][j];
      if (row < p.m && column < p.n) finish<1>(epilogue, p.n, row, column, sum);
#pragma unroll
      for (int g = 0; g < G; g++)
#pragma unroll
        for (int r = 1; r < Tile::kRowsM; r++) sums[g][r - 1][j] = sums[g][r][j];
    }
  }
}

}  // namespace caracal

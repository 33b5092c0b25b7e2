#pragma once
// The product in exact f32: every sum is one chain of fma over k = 0 ... K - 1, whatever the tile, so a row has the same
// bits as on the CPU. For products with an f32 operand; the others use tensor cores (tensor.cuh).
//
// Shared memory holds a tile of x and a tile of W (for SwiGLU, the rows of both weights) as f32, k innermost; the next
// tiles are on their way in registers. A thread computes kRowsM rows by kRowsN columns, kThreadsM and kThreadsN apart,
// four k at a time.
#include "cuda/device/f8e4m3.cuh"
#include "cuda/device/index.cuh"
#include "cuda/gemm/codes.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/gemm/raster.cuh"

namespace caracal {

template <SimtShape Shape>
struct SimtTile {
  static constexpr std::string_view kName = Shape.name;
  static constexpr bool kTensorCores = false;
  static constexpr int kMinBlocks = 0;  // unspecified: ptxas then keeps the small tile to 64 registers
  static constexpr int kTileM = Shape.rows, kTileN = Shape.columns;
  static constexpr int kRowsM = Shape.thread_rows, kRowsN = Shape.thread_columns;
  static constexpr int kThreadsM = kTileM / kRowsM, kThreadsN = kTileN / kRowsN, kThreads = kThreadsM * kThreadsN;
  template <int G>
  static constexpr size_t kSharedBytes = Shape.shared_bytes(G);
  static_assert(kThreadsM * kRowsM == kTileM && kThreadsN * kRowsN == kTileN, "the threads' sums do not fill the tile");
  static_assert(kThreads == Shape.threads(), "the host launches another number of threads");
  static_assert(kThreads % kWarp == 0 && kThreads <= kMaxBlockWarps * kWarp, "a block has 1 to 32 whole warps");
};
static_assert(kScaleBlock % kSimtTileK == 0, "the k in shared memory have more than one scale");

// Elements that a thread fetches at once: 16 bytes, or 8 f8e4m3 codes.
template <class T>
constexpr int kChunk = sizeof(T) == 4 ? 4 : 8;

// Fetches kChunk elements of a row, starting with element k. at(k) returns the address of an element, or null if it does
// not exist and reads as zero. `aligned`: the whole chunk exists and is aligned to its size.
template <class T, class At, class Scale>
__device__ inline void fetch(At at, long long k, bool aligned, Scale scale_at, float (&v)[kChunk<T>]) {
  const T* first = at(k);
  const float scale = first ? scale_at() : 0.0f;
  if (aligned && first) {
    if constexpr (sizeof(T) == 1) {
      const uint2 raw = *reinterpret_cast<const uint2*>(first);
#pragma unroll
      for (int j = 0; j < kChunk<T>; j++)
        v[j] = to_float(f8e4m3{static_cast<uint8_t>((j < 4 ? raw.x : raw.y) >> (j % 4 * 8))}) * scale;
    } else {
      load<kChunk<T>>(first, v);
    }
    return;
  }
#pragma unroll
  for (int j = 0; j < kChunk<T>; j++) {
    const T* from = aligned ? nullptr : at(k + j);
    v[j] = from ? to_float(*from) : 0.0f;
    if constexpr (sizeof(T) == 1) v[j] *= scale;
  }
}

// The weights of eight codes: `first` is their address, or null if they do not exist and read as zeros.
template <class T, class Pair>
__device__ inline void fetch_codes(const T* first, Pair pair_at, float (&v)[8]) {
  if (first) load_codes(first, v);
  const auto [scale, bias] = first ? pair_at() : ScalesAndBiases<1>{};
#pragma unroll
  for (int j = 0; j < 8; j++) v[j] = first ? fmaf(v[j], scale[0], bias[0]) : 0.0f;
}

// Moves a tile of Rows rows from global memory through registers into shared memory.
template <class T, int Rows, int Threads>
struct SimtFetch {
  static constexpr int kChunk = caracal::kChunk<T>;
  static constexpr int kPerRow = kSimtTileK / kChunk, kChunks = Rows * kPerRow;
  static constexpr int kEach = (kChunks + Threads - 1) / Threads;
  float v[kEach][kChunk];

  // at(i, k) returns the address of element k of the tile's row i, or null if it does not exist; scale(i) returns the
  // row's scale; of codes, its pair.
  template <class At, class Scale>
  __device__ void start(At at, Scale scale, long long k, bool aligned) {
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      const int chunk = thread_index() + i * Threads, r = chunk / kPerRow;
      if (kChunks % Threads != 0 && chunk >= kChunks) {
#pragma unroll
        for (int j = 0; j < kChunk; j++) v[i][j] = 0;
      } else if constexpr (kIsCode<T>) {
        fetch_codes(at(r, k + chunk % kPerRow * kChunk), [&] { return scale(r); }, v[i]);
      } else {
        fetch<T>([&](long long k) { return at(r, k); }, k + chunk % kPerRow * kChunk, aligned, [&] { return scale(r); },
                 v[i]);
      }
    }
  }
  __device__ void finish(float* tile) const {
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      const int chunk = thread_index() + i * Threads;
      if (chunk < kChunks) store<kChunk>(tile + chunk / kPerRow * kSimtStride + chunk % kPerRow * kChunk, v[i]);
    }
  }
};

template <int G, class Tile>
__device__ inline void simt_multiply(const float* xs, const float* ws, int row, int column,
                                     float (&sums)[G][Tile::kRowsM][Tile::kRowsN]) {
#pragma unroll 2
  for (int k = 0; k < kSimtTileK; k += 4) {
    float x[Tile::kRowsM][4];
#pragma unroll
    for (int i = 0; i < Tile::kRowsM; i++) load<4>(xs + (row + i * Tile::kThreadsM) * kSimtStride + k, x[i]);
#pragma unroll
    for (int g = 0; g < G; g++) {
#pragma unroll
      for (int j = 0; j < Tile::kRowsN; j++) {
        float w[4];
        load<4>(ws + (g * Tile::kTileN + column + j * Tile::kThreadsN) * kSimtStride + k, w);
#pragma unroll
        for (int i = 0; i < Tile::kRowsM; i++)
#pragma unroll
          for (int l = 0; l < 4; l++) sums[g][i][j] = fmaf(x[i][l], w[l], sums[g][i][j]);
      }
    }
  }
}

template <int G, class Tile>
using SimtSums = float[G][Tile::kRowsM][Tile::kRowsN];

// A thread computes rows row, row + kThreadsM, ... of the tile by columns column, column + kThreadsN, ...
template <class Tile>
struct SimtThread {
  int row = thread_index() / Tile::kThreadsN, column = thread_index() % Tile::kThreadsN;
};

// The tiles in shared memory.
template <int G, class Tile>
struct SimtTiles {
  __align__(16) float xs[Tile::kTileM * kSimtStride];
  __align__(16) float ws[G * Tile::kTileN * kSimtStride];
  static_assert(sizeof(xs) + sizeof(ws) == Tile::template kSharedBytes<G>, "the host counts other bytes");
};

// sums += x . W^T over k in [from, to); `from` is a multiple of kSimtTileK. x_at(i, k) and w_at(i, k) return the
// addresses of the tile's elements (rows of the second weight follow those of the first), scale(i, k) the scale, or pair,
// of a weight's element. each(k) is called after the products of [k - kSimtTileK, k).
template <int G, class Tile, class X, class W, class XAt, class WAt, class Scale, class Each>
__device__ inline void simt_main_loop(SimtTiles<G, Tile>& tiles, XAt x_at, WAt w_at, Scale scale, long long from,
                                      long long to, bool aligned, Each each, SimtSums<G, Tile>& sums) {
  const SimtThread<Tile> thread;
  SimtFetch<X, Tile::kTileM, Tile::kThreads> x;
  SimtFetch<W, G * Tile::kTileN, Tile::kThreads> w;
  auto start = [&](long long k) {
    x.start(x_at, [](int) { return 1.0f; }, k, aligned);
    w.start(w_at, [&](int r) { return scale(r, k); }, k, aligned);
  };
  if (from < to) start(from);
  for (long long k = from; k < to; k += kSimtTileK) {
    __syncthreads();  // wait until all threads have multiplied the previous tiles
    x.finish(tiles.xs);
    w.finish(tiles.ws);
    __syncthreads();
    if (k + kSimtTileK < to) start(k + kSimtTileK);
    simt_multiply<G, Tile>(tiles.xs, tiles.ws, thread.row, thread.column, sums);
    each(k + kSimtTileK);
  }
}

template <int G, class Tile, class Epilogue>
__device__ inline void simt_store(const GemmOperands& p, const Epilogue& epilogue, TilePosition at,
                                  SimtSums<G, Tile>& sums) {
  const SimtThread<Tile> thread;
#pragma unroll 1  // the epilogue is long and registers cannot be indexed: each row is shifted to the front in turn
  for (int i = 0; i < Tile::kRowsM; i++) {
    const long long row = at.row + thread.row + i * Tile::kThreadsM;
#pragma unroll
    for (int j = 0; j < Tile::kRowsN; j++) {
      const long long column = at.column + thread.column + j * Tile::kThreadsN;
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

// The scale of weight g's element k of a column; of codes, its pair.
template <class W>
__device__ inline auto simt_scale(const GemmOperands& p, int g, long long column, long long k) {
  if constexpr (sizeof(W) > 1) {
    return 1.0f;
  } else if constexpr (kIsCode<W>) {
    const auto* groups = static_cast<const uint8_t*>(p.scales[g]);
    return load_pairs<1>(p.pairs.type, groups + (k >> p.pairs.group_bits) * p.pairs.group_bytes(), column);
  } else {
    const long long block = column / kScaleBlock * divide_up(p.k, kScaleBlock) + k / kScaleBlock;
    return static_cast<const float*>(p.scales[g])[block];
  }
}

// One tile of the output per block of Tile::kThreads threads, for G weights.
template <int G, class Tile, class X, class W, class Epilogue>
__device__ inline void simt_gemm(const GemmOperands& p, const Epilogue& epilogue) {
  const TilePosition tile = tile_position<Tile::kTileM, Tile::kTileN>(p.m, p.n);
  auto x_at = [&](int r, long long k) -> const X* {
    return tile.row + r < p.m && k < p.k ? static_cast<const X*>(p.x) + (tile.row + r) * p.k + k : nullptr;
  };
  auto w_at = [&](int r, long long k) -> const W* {
    const long long column = tile.column + r % Tile::kTileN;
    return column < p.n && k < p.k ? element<W>(p.w[r / Tile::kTileN], column, p.k, k) : nullptr;
  };
  auto scale = [&](int r, long long k) {
    return simt_scale<W>(p, r / Tile::kTileN, tile.column + r % Tile::kTileN, k);
  };
  __shared__ SimtTiles<G, Tile> tiles;
  SimtSums<G, Tile> sums = {};
  simt_main_loop<G, Tile, X, W>(tiles, x_at, w_at, scale, 0, p.k, p.aligned, [](long long) {}, sums);
  simt_store<G, Tile>(p, epilogue, tile, sums);
}

}  // namespace caracal

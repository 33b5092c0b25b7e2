// A product whose rows are read through the taps (an implicit im2col): x[t · stride + tap · dilation + origin] comes
// from the tensor, from the state before it, or is zero. 2 T Cout k Cin/groups FLOP; the weight's 4 or 2 k Cin Cout
// bytes, x, the residual and the output move at least once each. Repeated reads of x through the taps come from L2.
// Snake in the epilogue costs about 25 FLOP per element and saves the output a round trip to memory.
//
// At the model's sizes (f32; k Cin by Cout: 16128 x 1536 at 1 row per frame, then 7 C by C with C = 768, 384, 192, 96
// at 8, 48, 288 and 1440 rows, 672 x 1 at 1440) the first products are memory-bound for few frames. There, blocks also
// split the depth and leave the sums of its chains to a second kernel, which adds them in order, so the bits are the
// same. That writes and reads 4 bytes per 32 products, for up to twice as many tiles as multiprocessors.
#include "core/math.h"
#include "cuda/device/index.cuh"
#include "cuda/gemm/tiles.cuh"
#include "ops/audio/conv1d.kernels.h"
#include "ops/audio/depthwise.cuh"

namespace caracal {

// Like TensorLoadX, for rows that are read through the taps.
template <class Tile>
class ConvTileLoad {
  static constexpr int kElements = 8, kPerRow = kTileK / kElements, kChunks = Tile::kTileM * kPerRow;
  static_assert(kChunks % Tile::kThreads == 0, "all threads load the same number of chunks");

 public:
  static constexpr int kBytes = Tile::kTileM * kTileK * static_cast<int>(sizeof(bf16));

  __device__ ConvTileLoad(const ConvRows<bf16>& rows, long long first, long long end, int group, const void* any)
      : rows_(rows), any_(any), first_(first), end_(end), group_(group) {}

  __device__ void start(uint8_t* tile, long long k, long long depth, bool aligned) const {
#pragma unroll
    for (int i = 0; i < kChunks / Tile::kThreads; i++) {
      const int chunk = thread_index() + i * Tile::kThreads, r = chunk / kPerRow, in_row = chunk % kPerRow;
      const long long at = k + in_row * kElements;
      uint8_t* to = tile + swizzled<Swizzle::rows128>(r, in_row);
      if (aligned) {
        const bf16* from = element(r, at, depth);
        ptx::cp_async_16(to, from ? from : any_, from ? 16 : 0);
      } else {
#pragma unroll 1
        for (int j = 0; j < kElements; j++) {
          const bf16* from = element(r, at + j, depth);
          reinterpret_cast<bf16*>(to)[j] = from ? *from : bf16{};
        }
      }
    }
  }

 private:
  __device__ const bf16* element(int r, long long k, long long depth) const {
    return first_ + r < end_ && k < depth ? rows_.at(first_ + r, k, group_) : nullptr;
  }

  const ConvRows<bf16>& rows_;
  const void* any_;
  long long first_, end_;
  int group_;
};

// --- epilogues ------------------------------------------------------------------------------------------------------

template <int V>
__device__ inline void finish(const ConvEpilogue& e, long long n, long long row, long long column,
                              float (&sums)[1][V]) {
  auto activation = [&](float (&v)[V]) {
    if (!e.alpha.data) return activate(e.linear.activation, v);
    float alpha[V];
    load_as<V>(e.alpha.bf16, e.alpha.data, column, alpha);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = snake(v[j], alpha[j]);
  };
  finish_with(activation, e.linear, n, row, column, sums[0]);
}

// The epilogue of one group, whose columns begin at `first` of all `columns`.
struct GroupEpilogue {
  const ConvEpilogue& conv;
  long long columns, first;
  bool bf16, aligned;
};

template <int V>
__device__ inline void finish(const GroupEpilogue& e, long long, long long row, long long column, float (&sums)[1][V]) {
  finish<V>(e.conv, e.columns, row, e.first + column, sums);
}

// The sums of one chain, [M, N].
struct ChainSums {
  float* sums;
};

template <int V>
__device__ inline void finish(const ChainSums& e, long long n, long long row, long long column, float (&sums)[1][V]) {
  static_assert(V == 1, "the exact product stores single elements");
  e.sums[row * n + column] = sums[0][0];
}

// The tile that a block computes, and its group.
struct GroupTile {
  int group;
  TilePosition at;

  __device__ GroupEpilogue epilogue(const ConvEpilogue& e, const ConvGeometry& g, long long n) const {
    return {e, g.groups * n, group * n, e.linear.bf16, e.linear.aligned};
  }
};

template <class Tile>
__device__ inline GroupTile group_tile(const GemmOperands& p) {
  const long long tiles = divide_up(p.m, Tile::kTileM) * divide_up(p.n, Tile::kTileN);
  return {static_cast<int>(blockIdx.x / tiles),
          tile_position<Tile::kTileM, Tile::kTileN>(p.m, p.n, blockIdx.x % tiles)};
}

// --- exact f32 ------------------------------------------------------------------------------------------------------

static_assert(kConvChain % kSimtTileK == 0, "a chain ends between two steps of the main loop");
static_assert(kConvShare % kConvChain == 0, "a block of conv1d_share computes whole chains");

// Calls done(index, sums) for each chain in [from, to).
template <class Tile, class X, class W, class Done>
__device__ inline void conv1d_chains(SimtTiles<1, Tile>& tiles, const ConvRows<X>& x, const GemmOperands& p,
                                     const GroupTile& tile, long long from, long long to, Done done) {
  auto x_at = [&](int r, long long k) {
    return tile.at.row + r < p.m && k < p.k ? x.at(tile.at.row + r, k, tile.group) : nullptr;
  };
  auto w_at = [&](int r, long long k) -> const W* {
    const long long column = tile.at.column + r;
    return column < p.n && k < p.k ? static_cast<const W*>(p.w[0]) + (tile.group * p.n + column) * p.k + k : nullptr;
  };
  SimtSums<1, Tile> chain = {};
  auto each = [&](long long k) {
    if (k % kConvChain != 0 && k < to) return;
    done((k - 1) / kConvChain, chain);
#pragma unroll
    for (int i = 0; i < Tile::kRowsM; i++)
#pragma unroll
      for (int j = 0; j < Tile::kRowsN; j++) chain[0][i][j] = 0;
  };
  auto scale = [](int, long long) { return 1.0f; };
  simt_main_loop<1, Tile, X, W>(tiles, x_at, w_at, scale, from, to, p.aligned, each, chain);
}

template <class Tile, class X, class W>
__device__ inline void conv1d_simt(const ConvRows<X>& x, const GemmOperands& p, const ConvEpilogue& epilogue) {
  __shared__ SimtTiles<1, Tile> tiles;
  const GroupTile tile = group_tile<Tile>(p);
  SimtSums<1, Tile> sums = {};
  conv1d_chains<Tile, X, W>(tiles, x, p, tile, 0, p.k, [&](long long, const SimtSums<1, Tile>& chain) {
#pragma unroll
    for (int i = 0; i < Tile::kRowsM; i++)
#pragma unroll
      for (int j = 0; j < Tile::kRowsN; j++) sums[0][i][j] += chain[0][i][j];
  });
  simt_store<1, Tile>(p, tile.epilogue(epilogue, x.g, p.n), tile.at, sums);
}

// Writes the sums of its chains to chains [chains, M, N]. blockIdx.y is the share of the depth; there is one group.
template <class Tile, class X, class W>
__device__ inline void conv1d_share(const ConvRows<X>& x, const GemmOperands& p, float* chains) {
  __shared__ SimtTiles<1, Tile> tiles;
  const GroupTile tile = group_tile<Tile>(p);
  const long long from = static_cast<long long>(blockIdx.y) * kConvShare;
  conv1d_chains<Tile, X, W>(tiles, x, p, tile, from, min(from + kConvShare, p.k),
                            [&](long long index, SimtSums<1, Tile>& chain) {
                              simt_store<1, Tile>(p, ChainSums{chains + index * p.m * p.n}, tile.at, chain);
                            });
}

#define CARACAL_CONV1D(X, W, Shape, tile, attributes)                                                     \
  static_assert(std::string_view(Shape.name) == #tile, "the host launches this tile under another name"); \
  CARACAL_KERNEL(kConv1d, conv1d_##tile##_##X##_##W, attributes, const __grid_constant__ ConvRows<X> x,   \
                 const __grid_constant__ GemmOperands p, const __grid_constant__ ConvEpilogue e) {        \
    conv1d_simt<SimtTile<Shape>, X, W>(x, p, e);                                                          \
  }
#define CARACAL_CONV1D_ENTRIES(X, W)                                                                             \
  CARACAL_CONV1D(X, W, kConvSmall, simt_small, __launch_bounds__(kConvSmall.threads(), 1))                       \
  CARACAL_CONV1D(X, W, kConvLarge, simt_large, __launch_bounds__(kConvLarge.threads()))                          \
  CARACAL_KERNEL(kConv1dShare, conv1d_share_##X##_##W, __launch_bounds__(kConvSmall.threads()),                  \
                 const __grid_constant__ ConvRows<X> x, const __grid_constant__ GemmOperands p, float* chains) { \
    conv1d_share<SimtTile<kConvSmall>, X, W>(x, p, chains);                                                      \
  }
CARACAL_CONV1D_ENTRIES(f32, f32)
CARACAL_CONV1D_ENTRIES(f32, bf16)
CARACAL_CONV1D_ENTRIES(bf16, f32)
#undef CARACAL_CONV1D_ENTRIES
#undef CARACAL_CONV1D

// Adds the sums of conv1d_share.
template <int V>
__device__ inline void add_chains(const float* chains, int count, long long m, long long n, const ConvEpilogue& e) {
  const long long i = grid_thread_index() * V;
  if (i >= m * n) return;
  float sums[1][V] = {};
  for (int c = 0; c < count; c++) {
    float v[V];
    load<V>(chains + c * m * n + i, v);
#pragma unroll
    for (int j = 0; j < V; j++) sums[0][j] += v[j];
  }
  finish<V>(e, n, i / n, i % n, sums);
}

CARACAL_KERNEL(kConv1dAdd, conv1d_add, , const float* chains, int count, long long m, long long n,
               const __grid_constant__ ConvEpilogue e) {
  if (!e.linear.aligned)
    add_chains<1>(chains, count, m, n, e);
  else if (e.linear.bf16)
    add_chains<8>(chains, count, m, n, e);
  else
    add_chains<4>(chains, count, m, n, e);
}

// --- tensor cores ---------------------------------------------------------------------------------------------------

template <class Tile>
__device__ inline void conv1d_tensor(const ConvRows<bf16>& x, const GemmOperands& p, const ConvEpilogue& epilogue) {
  extern __shared__ __align__(128) uint8_t ring[];
  const GroupTile tile = group_tile<Tile>(p);
  const int warp = warp_index();
  const int warp_m = warp / Tile::kWarpsN * Tile::kWarpM, warp_n = warp % Tile::kWarpsN * Tile::kWarpN;
  auto w_row = [&](int r) -> const bf16* {
    const long long column = tile.at.column + r;
    return column < p.n ? static_cast<const bf16*>(p.w[0]) + (tile.group * p.n + column) * p.k : nullptr;
  };
  auto scale = [](int, long long) { return 1.0f; };
  TensorSums<1, Tile> sums = {};
  tensor_main_loop<1, Tile, bf16>(ring, p, ConvTileLoad<Tile>(x, tile.at.row, p.m, tile.group, p.w[0]), w_row, scale,
                                  warp_m, warp_n, sums, p.m - tile.at.row);
  tensor_store<1, Tile>(reinterpret_cast<float*>(ring), p, tile.epilogue(epilogue, x.g, p.n), tile.at, warp_m, warp_n,
                        sums);
}

#define CARACAL_CONV1D(Tile, tile)                                                                 \
  static_assert(Tile::kName == #tile, "the host launches this tile under another name");           \
  CARACAL_KERNEL(kConv1d, conv1d_##tile##_bf16_bf16, __launch_bounds__(Tile::kThreads, 1),         \
                 const __grid_constant__ ConvRows<bf16> x, const __grid_constant__ GemmOperands p, \
                 const __grid_constant__ ConvEpilogue e) {                                         \
    conv1d_tensor<Tile>(x, p, e);                                                                  \
  }
CARACAL_CONV1D(TensorSmall<1>, tensor_small)
CARACAL_CONV1D(TensorMedium<1>, tensor_medium)
CARACAL_CONV1D(Tensor96, tensor_96)
CARACAL_CONV1D(TensorLarge<1>, tensor_large)
#undef CARACAL_CONV1D

// --- depthwise ------------------------------------------------------------------------------------------------------

#define CARACAL_CONV1D(T, W)                                                                                        \
  CARACAL_KERNEL(kConv1dDepthwise, conv1d_depthwise_##T##_##W, __launch_bounds__(kDepthwiseThreads), TimeRows<T> x, \
                 const W* weight, ConvTaps taps, int stride, DepthwiseBlock block,                                  \
                 const __grid_constant__ ConvEpilogue e) {                                                          \
    depthwise(x, weight, taps, stride, block, [&](long long t, int c, float sum) {                                  \
      float sums[1][1] = {{sum}};                                                                                   \
      finish<1>(e, x.channels, t, c, sums);                                                                         \
    });                                                                                                             \
  }
CARACAL_CONV1D(f32, f32)
CARACAL_CONV1D(f32, bf16)
CARACAL_CONV1D(bf16, f32)
CARACAL_CONV1D(bf16, bf16)
#undef CARACAL_CONV1D

}  // namespace caracal

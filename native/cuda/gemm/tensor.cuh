#pragma once
// The product on tensor cores: bf16 rows by bf16 or f8e4m3 weights, f32 sums. Tiles of x and of W pass through a ring
// of stages in shared memory, filled by cp.async while earlier ones are multiplied.
//
// Every sum takes its k in the same order through the same instruction, whatever the tile: a row's bits depend on
// nothing but that row and the weights. f8e4m3 is widened to bf16, which is exact; a block of 128 k is summed by itself
// and enters the sum times its scale, in f32.
#include "cuda/gemm/epilogue.cuh"
#include "cuda/gemm/raster.cuh"
#include "cuda/gemm/tile_load.cuh"
#include "cuda/ptx/matrix.cuh"

namespace caracal {

template <TensorShape Shape>
struct TensorTile {
  static constexpr std::string_view kName = Shape.name;
  static constexpr int kTileM = Shape.rows, kTileN = Shape.columns, kStages = Shape.stages;
  static constexpr int kWarpsM = Shape.warps_m, kWarpsN = Shape.warps_n, kThreads = Shape.threads();
  static constexpr int kWarpM = kTileM / kWarpsM, kWarpN = kTileN / kWarpsN;  // the part of one warp
  static constexpr int kM = kWarpM / 16, kN = kWarpN / 8;                     // its tensor instructions, 16 x 8 each
  static_assert(kM * 16 * kWarpsM == kTileM && kN * 8 * kWarpsN == kTileN, "tensor instructions do not fill the tile");
  static_assert(kStages >= 2, "a ring with one stage would multiply while it is filled");
};

template <int G, class Tile>
using TensorSums = float[G][Tile::kM][Tile::kN][4];

// --- one stage ------------------------------------------------------------------------------------------------------

template <int G, class Tile>
__device__ inline void tensor_multiply(const uint8_t* xs, const bf16* weights, int warp_m, int warp_n,
                                       TensorSums<G, Tile>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto* ws = reinterpret_cast<const uint8_t*>(weights);
#pragma unroll
  for (int k = 0; k < kTileK / 32; k++) {
    uint32_t w[G][Tile::kN][4];
#pragma unroll
    for (int g = 0; g < G; g++)
#pragma unroll
      for (int j = 0; j < Tile::kN; j++)
        ptx::ldmatrix_x4(
            w[g][j], ws + swizzled<Swizzle::rows128>(g * Tile::kTileN + warp_n + j * 8 + lane % 8, k * 4 + lane / 8));
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
      for (int i = 0; i < Tile::kM; i++) {
        uint32_t x[4];
        ptx::ldmatrix_x4(x, xs + swizzled<Swizzle::rows128>(warp_m + i * 16 + lane % 16, k * 4 + half * 2 + lane / 16));
#pragma unroll
        for (int g = 0; g < G; g++)
#pragma unroll
          for (int j = 0; j < Tile::kN; j++)
            ptx::mma_m16n8k16(sums[g][i][j], x, w[g][j][half * 2], w[g][j][half * 2 + 1]);
      }
  }
}

// Two e4m3 codes, bytes `Selector` of `codes`, as bf16: shifted into its fields they read as their 2^-120th.
template <uint32_t Selector>
__device__ inline uint32_t widen(uint32_t codes) {
  const uint32_t pair = __byte_perm(codes, 0, Selector);
  const uint32_t fields = (pair & 0x80008000) | (pair & 0x7f007f00) >> 4;
  const __nv_bfloat162 v = __hmul2(reinterpret_cast<const __nv_bfloat162&>(fields),
                                   __nv_bfloat162{__nv_bfloat16_raw{0x7b80}, __nv_bfloat16_raw{0x7b80}});
  return reinterpret_cast<const uint32_t&>(v);
}

// A lane holds four neighbouring codes of a row, where the tensor instruction wants two pairs 8 apart. So both operands
// take the sixteen k of an instruction in another order, the same: 4 t, 4 t + 1 for 2 t, 2 t + 1 and 4 t + 2, 4 t + 3
// for 2 t + 8, 2 t + 9.
template <int G, class Tile>
__device__ inline void tensor_multiply(const uint8_t* xs, const f8e4m3* weights, int warp_m, int warp_n,
                                       TensorSums<G, Tile>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto* ws = reinterpret_cast<const uint8_t*>(weights);
  uint32_t w[G][Tile::kN][4];
#pragma unroll
  for (int g = 0; g < G; g++)
#pragma unroll
    for (int j = 0; j < Tile::kN; j++)
      ptx::ldmatrix_x4(w[g][j], ws + swizzled<Swizzle::rows64>(g * Tile::kTileN + warp_n + j * 8 + lane % 8, lane / 8));
#pragma unroll
  for (int k = 0; k < kTileK / 16; k++)
#pragma unroll
    for (int i = 0; i < Tile::kM; i++) {
      const int row = warp_m + i * 16 + lane / 4, chunk = k * 2 + lane % 4 / 2, half = lane % 2 * 8;
      const uint2 low = *reinterpret_cast<const uint2*>(xs + swizzled<Swizzle::pairs>(row, chunk) + half);
      const uint2 high = *reinterpret_cast<const uint2*>(xs + swizzled<Swizzle::pairs>(row + 8, chunk) + half);
      const uint32_t x[4] = {low.x, high.x, low.y, high.y};
#pragma unroll
      for (int g = 0; g < G; g++)
#pragma unroll
        for (int j = 0; j < Tile::kN; j++)
          ptx::mma_m16n8k16(sums[g][i][j], x, widen<0x1404>(w[g][j][k]), widen<0x3424>(w[g][j][k]));
    }
}

// --- the main loop --------------------------------------------------------------------------------------------------

// sums += block * scale, and the block begins anew.
template <int G, class Tile, class Scale>
__device__ inline void add_block(Scale scale, TensorSums<G, Tile>& block, TensorSums<G, Tile>& sums) {
#pragma unroll
  for (int g = 0; g < G; g++) {
    const float by = scale(g);
#pragma unroll
    for (int i = 0; i < Tile::kM; i++)
#pragma unroll
      for (int j = 0; j < Tile::kN; j++)
#pragma unroll
        for (int l = 0; l < 4; l++) {
          sums[g][i][j][l] = fmaf(block[g][i][j][l], by, sums[g][i][j][l]);
          block[g][i][j][l] = 0;
        }
  }
}

// How the rows of x come into shared memory.
template <class Tile, class W>
using TensorLoadX = TileLoad<bf16, Tile::kTileM, Tile::kThreads, sizeof(W) == 1 ? Swizzle::pairs : Swizzle::rows128>;

// w_row(i) gives the tile's rows of W, null where there is none; scale(g, block of k) that of the tile's columns. LoadX
// is TensorLoadX or what is like it. Warps whose rows are none of the tile's first `rows` multiply nothing.
template <int G, class Tile, class W, class LoadX, class WRow, class Scale>
__device__ inline void tensor_main_loop(uint8_t* ring, const GemmOperands& p, const LoadX& x, WRow w_row, Scale scale,
                                        int warp_m, int warp_n, TensorSums<G, Tile>& sums,
                                        long long rows = Tile::kTileM) {
  constexpr bool kScaled = sizeof(W) == 1;
  using LoadW = TileLoad<W, G * Tile::kTileN, Tile::kThreads, kScaled ? Swizzle::rows64 : Swizzle::rows128>;
  constexpr int kStage = LoadX::kBytes + LoadW::kBytes, kStages = Tile::kStages;
  const LoadW w(w_row, p.w[0]);
  const long long depth = p.k;
  const bool aligned = p.aligned;
  const int stages = static_cast<int>((depth + kTileK - 1) / kTileK);
  auto start = [&](int stage) {
    if (stage < stages) {
      uint8_t* slot = ring + stage % kStages * kStage;
      x.start(slot, static_cast<long long>(stage) * kTileK, depth, aligned);
      w.start(slot + LoadX::kBytes, static_cast<long long>(stage) * kTileK, depth, aligned);
    }
    ptx::cp_async_commit();  // empty groups too, so that waiting can count them
  };
  for (int i = 0; i < kStages - 1; i++) start(i);
  TensorSums<G, Tile> block = {};  // of f8e4m3: since the last scale
#pragma unroll 1
  for (int stage = 0; stage < stages; stage++) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();  // everyone's copies are there, and everyone has multiplied the stage whose slot is filled next
    start(stage + kStages - 1);
    const uint8_t* slot = ring + stage % kStages * kStage;
    if (warp_m < rows)
      tensor_multiply<G, Tile>(slot, reinterpret_cast<const W*>(slot + LoadX::kBytes), warp_m, warp_n,
                               kScaled ? block : sums);
    if constexpr (kScaled) {
      constexpr int kBlock = 128 / kTileK;
      if (stage % kBlock == kBlock - 1 || stage == stages - 1)
        add_block<G, Tile>([&](int g) { return scale(g, stage / kBlock); }, block, sums);
    }
  }
  ptx::cp_async_wait<0>();
  __syncthreads();  // the ring is free
}

// --- the way out ----------------------------------------------------------------------------------------------------

// Sums pass through shared memory, so that a lane has the neighbouring columns that 16 bytes of the output hold.
template <int G, class Tile, class Epilogue>
__device__ inline void tensor_store(float* shared, const GemmOperands& p, const Epilogue& epilogue, TilePosition at,
                                    int warp_m, int warp_n, const TensorSums<G, Tile>& sums) {
  constexpr int kStride = G * Tile::kTileN + 8;  // float2 of four rows fall into all banks
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
#pragma unroll
  for (int g = 0; g < G; g++)
#pragma unroll
    for (int i = 0; i < Tile::kM; i++)
#pragma unroll
      for (int j = 0; j < Tile::kN; j++) {
        const float (&s)[4] = sums[g][i][j];
        float* to = shared + (warp_m + i * 16 + lane / 4) * kStride + g * Tile::kTileN + warp_n + j * 8 + lane % 4 * 2;
        *reinterpret_cast<float2*>(to) = {s[0], s[1]};
        *reinterpret_cast<float2*>(to + 8 * kStride) = {s[2], s[3]};
      }
  __syncthreads();
  auto store_columns = [&]<int V>() {
    constexpr int kPerRow = Tile::kTileN / V;
#pragma unroll 1
    for (int i = thread; i < Tile::kTileM * kPerRow; i += Tile::kThreads) {
      const int r = i / kPerRow, c = i % kPerRow * V;
      if (at.row + r >= p.m || at.column + c >= p.n) continue;
      float v[G][V];
#pragma unroll
      for (int g = 0; g < G; g++) {
        const float* from = shared + r * kStride + g * Tile::kTileN + c;
        if constexpr (V < 8) {
          load<V>(from, v[g]);
        } else {  // of eight lanes, four begin with their upper half: else they would meet in half of the banks
          const int first = thread % 8 / 4 * 4;
          float a[4], b[4];
          load<4>(from + first, a);
          load<4>(from + (first ^ 4), b);
#pragma unroll
          for (int l = 0; l < 4; l++) {
            v[g][l] = first ? b[l] : a[l];
            v[g][4 + l] = first ? a[l] : b[l];
          }
        }
      }
      finish<V>(epilogue, p.n, at.row + r, at.column + c, v);
    }
  };
  if (!epilogue.aligned)
    store_columns.template operator()<1>();
  else if (epilogue.bf16)
    store_columns.template operator()<8>();
  else
    store_columns.template operator()<4>();
}

// One tile of the output per block of Tile::kThreads threads. G weights.
template <int G, class Tile, class W, class Epilogue>
__device__ inline void tensor_gemm(const GemmOperands& p, const Epilogue& epilogue) {
  extern __shared__ __align__(128) uint8_t ring[];
  const TilePosition at = tile_position<Tile::kTileM, Tile::kTileN>(p.m, p.n);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_m = warp / Tile::kWarpsN * Tile::kWarpM, warp_n = warp % Tile::kWarpsN * Tile::kWarpN;
  auto x_row = [&](int r) -> const bf16* {
    return at.row + r < p.m ? static_cast<const bf16*>(p.x) + (at.row + r) * p.k : nullptr;
  };
  auto w_row = [&](int r) -> const W* {
    const long long column = at.column + r % Tile::kTileN;
    return column < p.n ? static_cast<const W*>(p.w[r / Tile::kTileN]) + column * p.k : nullptr;
  };
  auto scale = [&](int g, long long block) { return p.scales[g][at.column / 128 * ((p.k + 127) / 128) + block]; };
  TensorSums<G, Tile> sums = {};
  tensor_main_loop<G, Tile, W>(ring, p, TensorLoadX<Tile, W>(x_row, p.x), w_row, scale, warp_m, warp_n, sums,
                               p.m - at.row);
  tensor_store<G, Tile>(reinterpret_cast<float*>(ring), p, epilogue, at, warp_m, warp_n, sums);
}

}  // namespace caracal

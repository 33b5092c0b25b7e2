#pragma once
// The product on tensor cores: bf16 rows by bf16 or f8e4m3 weights, f32 sums. Tiles of x and of W pass through a ring
// of stages in shared memory, filled by cp.async while earlier ones are multiplied.
//
// Every sum runs through k in the same order and through the same instruction, whatever the tile, so the bits of a row
// depend only on that row and the weights. f8e4m3 is widened to bf16, which is exact; each scale block of 128 k is summed
// separately, multiplied by its scale in f32 and added to the sum.
#include "cuda/device/index.cuh"
#include "cuda/gemm/codes.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/gemm/raster.cuh"
#include "cuda/gemm/ring.cuh"
#include "cuda/gemm/tile_load.cuh"
#include "cuda/ptx/matrix.cuh"

namespace caracal {

template <TensorShape Shape>
struct TensorTile {
  static constexpr std::string_view kName = Shape.name;
  static constexpr bool kTensorCores = true;
  static constexpr int kMinBlocks = 1;  // per multiprocessor; the sums need the registers
  static constexpr int kTileM = Shape.rows, kTileN = Shape.columns, kStages = Shape.stages;
  static constexpr int kWarpsM = Shape.warps_m, kWarpsN = Shape.warps_n, kThreads = Shape.threads();
  static constexpr int kWarpM = kTileM / kWarpsM, kWarpN = kTileN / kWarpsN;  // one warp's part of the tile
  static constexpr int kM = kWarpM / 16, kN = kWarpN / 8;                     // in tensor instructions of 16 x 8
  template <int G, class W>
  static constexpr size_t kRingBytes =
      Shape.ring_bytes(G, column_bytes(std::is_same_v<W, q4> ? 4 : sizeof(W) * 8, kIsCode<W>));
  template <int G>
  static constexpr int kSumStride = Shape.sum_stride(G);
  static_assert(kM * 16 * kWarpsM == kTileM && kN * 8 * kWarpsN == kTileN, "tensor instructions do not fill the tile");
  static_assert(kThreads == kWarpsM * kWarpsN * kWarp, "the host launches another number of threads");
};
static_assert(kScaleBlock % kTileK == 0, "a stage has more than one scale");

template <int G, class Tile>
using TensorSums = float[G][Tile::kM][Tile::kN][4];

// --- one stage ------------------------------------------------------------------------------------------------------

template <int G, class Tile>
__device__ inline void tensor_multiply(const uint8_t* xs, const bf16* weights, int warp_m, int warp_n,
                                       TensorSums<G, Tile>& sums) {
  const int lane = lane_index();
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

// Widens two e4m3 codes, bytes `Selector` of `codes`, to bf16: shifted into the fields of a bf16, a code reads as its
// value times 2^-120.
template <uint32_t Selector>
__device__ inline uint32_t widen(uint32_t codes) {
  const uint32_t pair = __byte_perm(codes, 0, Selector);
  const uint32_t fields = (pair & 0x80008000) | (pair & 0x7f007f00) >> 4;
  const __nv_bfloat162 v = __hmul2(reinterpret_cast<const __nv_bfloat162&>(fields),
                                   __nv_bfloat162{__nv_bfloat16_raw{0x7b80}, __nv_bfloat16_raw{0x7b80}});
  return reinterpret_cast<const uint32_t&>(v);
}

// A lane holds four neighbouring codes of a row, but the tensor instruction expects two pairs that are 8 apart. So both
// operands permute the sixteen k of an instruction in the same way: 4t, 4t + 1 take the place of 2t, 2t + 1, and
// 4t + 2, 4t + 3 that of 2t + 8, 2t + 9.
template <int G, class Tile>
__device__ inline void tensor_multiply(const uint8_t* xs, const f8e4m3* weights, int warp_m, int warp_n,
                                       TensorSums<G, Tile>& sums) {
  const int lane = lane_index();
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

// sums += block * scale; block = 0
template <int G, class Tile, class Scale>
__device__ inline void add_block(Scale scale, TensorSums<G, Tile>& block, TensorSums<G, Tile>& sums) {
#pragma unroll
  for (int g = 0; g < G; g++) {
    const float factor = scale(g);
#pragma unroll
    for (int i = 0; i < Tile::kM; i++)
#pragma unroll
      for (int j = 0; j < Tile::kN; j++)
#pragma unroll
        for (int l = 0; l < 4; l++) {
          sums[g][i][j][l] = fmaf(block[g][i][j][l], factor, sums[g][i][j][l]);
          block[g][i][j][l] = 0;
        }
  }
}

// Loads the rows of x into shared memory.
template <class Tile, class W>
using TensorLoadX = TileLoad<bf16, Tile::kTileM, Tile::kThreads,
                             kIsCode<W>       ? Swizzle::fours
                             : sizeof(W) == 1 ? Swizzle::pairs
                                              : Swizzle::rows128>;

// w_row(i) returns row i of the tile's rows of W, or null if it does not exist; scale(g, block of k) returns the scale of
// the tile's columns. LoadX is TensorLoadX or a type with the same interface. Warps whose rows lie beyond the tile's
// first `rows` skip the multiplication.
template <int G, class Tile, class W, class LoadX, class WRow, class Scale>
__device__ inline void tensor_main_loop(uint8_t* ring, const GemmOperands& p, const LoadX& x, WRow w_row, Scale scale,
                                        int warp_m, int warp_n, TensorSums<G, Tile>& sums,
                                        long long rows = Tile::kTileM) {
  constexpr bool kScaled = sizeof(W) == 1;
  using LoadW = TileLoad<W, G * Tile::kTileN, Tile::kThreads, kScaled ? Swizzle::rows64 : Swizzle::rows128>;
  constexpr int kStage = LoadX::kBytes + LoadW::kBytes;
  static_assert(kStage * Tile::kStages == Tile::template kRingBytes<G, W>, "the host allocates a ring of another size");
  static_assert(!kScaled || kScaleBlock % Tile::kTileN == 0, "the columns of a tile have more than one scale");
  const LoadW w(w_row, p.w[0]);
  const long long depth = p.k;
  const bool aligned = p.aligned;
  const int stages = static_cast<int>(divide_up(depth, kTileK));
  TensorSums<G, Tile> block = {};  // f8e4m3: the sums of the current scale block
  auto start = [&](uint8_t* slot, int stage) {
    x.start(slot, static_cast<long long>(stage) * kTileK, depth, aligned);
    w.start(slot + LoadX::kBytes, static_cast<long long>(stage) * kTileK, depth, aligned);
  };
  through_ring<Tile::kStages, kStage>(ring, stages, start, [&](const uint8_t* slot, int stage) {
    if (warp_m < rows)
      tensor_multiply<G, Tile>(slot, reinterpret_cast<const W*>(slot + LoadX::kBytes), warp_m, warp_n,
                               kScaled ? block : sums);
    if constexpr (kScaled) {
      constexpr int kBlockStages = kScaleBlock / kTileK;
      if (stage % kBlockStages == kBlockStages - 1 || stage == stages - 1)
        add_block<G, Tile>([&](int g) { return scale(g, stage / kBlockStages); }, block, sums);
    }
  });
}

// --- storing --------------------------------------------------------------------------------------------------------

// Passes the sums through shared memory, so that each lane gets the neighbouring columns that fill 16 bytes of the
// output.
template <int G, class Tile, class Epilogue>
__device__ inline void tensor_store(float* shared, const GemmOperands& p, const Epilogue& epilogue, TilePosition at,
                                    int warp_m, int warp_n, const TensorSums<G, Tile>& sums) {
  constexpr int kStride = Tile::template kSumStride<G>;
  const int thread = thread_index(), lane = thread % kWarp;
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
        } else {  // four of eight lanes start with their upper half, otherwise they would share half of the banks
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

}  // namespace caracal

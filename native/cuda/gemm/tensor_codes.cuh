#pragma once
// The product of bf16 rows by codes on tensor cores. With weight = scale * (code - half) + (bias + half * scale) for the
// codes of a group, where `half` is half of a code's range, the group adds
//
//   scale * sum(x * (code - half)) + (bias + half * scale) * sum(x)
//
// to a sum, by two fmas in f32, group after group in all tiles. Both sums of a group are f32 sums of exact products: an
// instruction with a matrix of ones has every lane's sums of x in the place where the lane has its sums of products.
#include "cuda/gemm/codes.cuh"
#include "cuda/gemm/tensor.cuh"

namespace caracal {

// --- half a stage, which is in one group ----------------------------------------------------------------------------

// The sums of the current group.
template <int G, class Tile>
struct CodeSums {
  TensorSums<G, Tile> products;
  float x[Tile::kM][4];  // elements 0 and 1 are equal, and so are 2 and 3
};

// The words of a lane's codes, eight codes in each half of a stage. Two words are loaded at once, to occupy few registers:
// those of both halves (q4) or of one (q8).
template <int G, class Tile, class W>
struct CodeWords {
  static constexpr int kWords = kCodeWords<W>, kHalves = 2 / kWords;
  uint32_t v[G][Tile::kN][2];

  // Loads the words of kHalves halves from `half` on.
  __device__ void load(const uint8_t* ws, int warp_n, int half) {
    constexpr Swizzle kSwizzle = kWords == 1 ? Swizzle::rows32 : Swizzle::rows64;
    const int lane = lane_index();
#pragma unroll
    for (int g = 0; g < G; g++)
#pragma unroll
      for (int j = 0; j < Tile::kN; j++) {
        const int row = g * Tile::kTileN + warp_n + j * 8 + lane % 8;
        ptx::ldmatrix_x2(v[g][j], ws + swizzled<kSwizzle>(row, half * kWords + lane / 8 % 2));
      }
  }

  // Codes 2 `pair` and 2 `pair` + 1 of the lane's eight in a half.
  __device__ uint32_t widen(int g, int j, int half, int pair) const {
    uint32_t words[kWords];
#pragma unroll
    for (int i = 0; i < kWords; i++) words[i] = v[g][j][half % kHalves * kWords + i];
    return widen_pair(W{}, words, pair);
  }
};

// Lane t of four holds elements 8 t to 8 t + 7 of the 32, of x and of the codes: both permute the k of two instructions in
// the same way.
template <int G, class Tile, class W>
__device__ inline void multiply_codes(const uint8_t* xs, const CodeWords<G, Tile, W>& codes, int half, int warp_m,
                                      CodeSums<G, Tile>& sums) {
  constexpr uint32_t kOnes = 0x3f803f80;
  const int lane = lane_index();
  uint32_t w[G][Tile::kN][4];
#pragma unroll
  for (int g = 0; g < G; g++)
#pragma unroll
    for (int j = 0; j < Tile::kN; j++)
#pragma unroll
      for (int pair = 0; pair < 4; pair++) w[g][j][pair] = codes.widen(g, j, half, pair);
#pragma unroll
  for (int i = 0; i < Tile::kM; i++) {
    const int row = warp_m + i * 16 + lane / 4, chunk = half * 4 + lane % 4;
    const uint4 low = *reinterpret_cast<const uint4*>(xs + swizzled<Swizzle::fours>(row, chunk));
    const uint4 high = *reinterpret_cast<const uint4*>(xs + swizzled<Swizzle::fours>(row + 8, chunk));
    const uint32_t x[2][4] = {{low.x, high.x, low.y, high.y}, {low.z, high.z, low.w, high.w}};
#pragma unroll
    for (int step = 0; step < 2; step++) {
      ptx::mma_m16n8k16(sums.x[i], x[step], kOnes, kOnes);
#pragma unroll
      for (int g = 0; g < G; g++)
#pragma unroll
        for (int j = 0; j < Tile::kN; j++)
          ptx::mma_m16n8k16(sums.products[g][i][j], x[step], w[g][j][step * 2], w[g][j][step * 2 + 1]);
    }
  }
}

// Adds a group to the sums and clears it. `pairs` are those of the tile's columns.
template <int G, class Tile, class W>
__device__ inline void add_group(ScaleType type, const uint8_t* pairs, int warp_n, CodeSums<G, Tile>& group,
                                 TensorSums<G, Tile>& sums) {
#pragma unroll
  for (int g = 0; g < G; g++)
#pragma unroll
    for (int j = 0; j < Tile::kN; j++) {
      const auto [scale, bias] = load_pairs<2>(type, pairs, g * Tile::kTileN + warp_n + j * 8 + lane_index() % 4 * 2);
#pragma unroll
      for (int i = 0; i < Tile::kM; i++)
#pragma unroll
        for (int l = 0; l < 4; l++) {
          float& sum = sums[g][i][j][l];
          sum = fmaf(group.products[g][i][j][l], scale[l % 2], sum);
          sum = fmaf(group.x[i][l], fmaf(kHalfRange<W>, scale[l % 2], bias[l % 2]), sum);
        }
    }
  group = {};
}

// --- the main loop --------------------------------------------------------------------------------------------------

// Moves the pairs of the groups that end in a stage into shared memory, group after group.
template <int G, class Tile>
class PairLoad {
  static_assert(G * Tile::kTileN <= Tile::kThreads,
                "a thread copies 16 bytes, half of a stage's f32 pairs of a column");

 public:
  static constexpr int kBytes = G * Tile::kTileN * static_cast<int>(kStagePairBytes);

  __device__ PairLoad(const GemmOperands& p, long long column) : p_(p.pairs), groups_(p.k >> p.pairs.group_bits) {
    const int in_chunk = 16 / p_.pair_bytes(), chunks = G * Tile::kTileN / in_chunk;  // pairs, chunks of a group
    const int column_in_tile = thread_index() % chunks * in_chunk;
    const long long at = column + column_in_tile % Tile::kTileN;
    group_ = thread_index() / chunks;
    in_bounds_ = at < p_.columns;
    from_ = static_cast<const uint8_t*>(p.scales[column_in_tile / Tile::kTileN]);
    if (in_bounds_) from_ += group_ * p_.group_bytes() + at * p_.pair_bytes();
  }

  __device__ void start(uint8_t* to, int stage) const {
    const long long first = first_group(stage), end = min(first_group(stage + 1), groups_);
    if (first + group_ < end)
      ptx::cp_async_16(to + thread_index() * 16, from_ + (in_bounds_ ? first * p_.group_bytes() : 0),
                       in_bounds_ ? 16 : 0);
  }

  // Returns whether a group ends with half a stage, and if so moves `pairs` from the stage's first to its pairs.
  __device__ bool ends_group(int stage, int half, const uint8_t*& pairs) const {
    const long long end = stage * 2ll + half + 1;  // in halves of stages
    pairs += p_.group_bits == 5 ? half * G * Tile::kTileN * p_.pair_bytes() : 0;
    return (end & ((1 << p_.group_bits) / kCodeBlock - 1)) == 0 && end * kCodeBlock >> p_.group_bits <= groups_;
  }

 private:
  __device__ long long first_group(int stage) const { return static_cast<long long>(stage) * kTileK >> p_.group_bits; }

  const GroupPairs p_;
  const long long groups_;
  int group_;  // this thread's, among those of a stage
  bool in_bounds_;
  const uint8_t* from_;
};

// Like tensor_main_loop, for codes, in the tile whose first column is `column`.
template <int G, class Tile, class W, class LoadX, class WRow>
__device__ inline void tensor_code_loop(uint8_t* ring, const GemmOperands& p, const LoadX& x, WRow w_row,
                                        long long column, int warp_m, int warp_n, TensorSums<G, Tile>& sums,
                                        long long rows) {
  constexpr int kWide = static_cast<int>(stored<W>(kTileK));
  using LoadW = TileLoad<W, G * Tile::kTileN, Tile::kThreads, kWide == 32 ? Swizzle::rows32 : Swizzle::rows64, kWide>;
  using LoadPairs = PairLoad<G, Tile>;
  constexpr int kCodes = LoadX::kBytes, kPairs = kCodes + LoadW::kBytes, kStage = kPairs + LoadPairs::kBytes;
  static_assert(kStage * Tile::kStages == Tile::template kRingBytes<G, W>, "the host allocates a ring of another size");
  const LoadW w(w_row, p.w[0]);
  const LoadPairs pairs(p, column);
  const ScaleType type = p.pairs.type;
  const long long depth = p.k;
  const bool aligned = p.aligned;
  auto start = [&](uint8_t* slot, int stage) {
    x.start(slot, static_cast<long long>(stage) * kTileK, depth, aligned);
    w.start(slot + kCodes, static_cast<long long>(stage) * kWide, stored<W>(depth), true);
    pairs.start(slot + kPairs, stage);
  };
  CodeSums<G, Tile> group = {};
  auto multiply = [&](const uint8_t* slot, int stage) {
    if (warp_m >= rows) return;
    CodeWords<G, Tile, W> codes;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (half % codes.kHalves == 0) codes.load(slot + kCodes, warp_n, half);
      multiply_codes<G, Tile, W>(slot, codes, half, warp_m, group);
      const uint8_t* at = slot + kPairs;
      if (pairs.ends_group(stage, half, at)) add_group<G, Tile, W>(type, at, warp_n, group, sums);
    }
  };
  through_ring<Tile::kStages, kStage>(ring, static_cast<int>(divide_up(depth, kTileK)), start, multiply);
}

}  // namespace caracal

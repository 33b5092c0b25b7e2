// One query per sequence, in the absorbed form. Memory-bound: it reads at least every row of W_kvb once, 16.8 MB of
// bf16 (64 x 256 x 512), and every row of each sequence's cache once, 1152 bytes per key, for 2 x 64 x 1088 FLOP per
// key. It has four kernels:
//   absorb  q~; reads the key rows of W_kvb once for up to eight sequences
//   split   attention of all heads over kSplitKeys keys of one sequence; writes 64 x 514 f32 per split
//   merge   combines the splits in their order
//   values  o; reads the value rows of W_kvb once
#include "cuda/device/index.cuh"
#include "cuda/gemm/tensor.cuh"
#include "ops/attention/flash_simt.cuh"
#include "ops/attention/mla_product.cuh"
#include "ops/attention/mla_split_tensor.cuh"
#include "ops/attention/paged.cuh"

namespace caracal {

// --- absorb: q~ = Wk^T q_n ------------------------------------------------------------------------------------------

// A lane has eight columns. Half-warps take turns at the rows of W_kvb, and their sums are added in a fixed order.
struct Absorb : MlaAbsorbTile {
  static constexpr int kLaneColumns = 8, kLanes = 16, kHalfWarps = kThreads / kLanes, kDepth = 128;
  static constexpr int kSecond = 80, kStride = 144;  // a lane's second four sums, in other banks than its first four
  static_assert(kColumns == kLanes * kLaneColumns, "a half-warp has the block's columns");
  static_assert(kColumns == kThreads, "a thread adds up the sums of one column");

  // A lane reads 16 bytes at a time: the second four columns of f32 are half a block of columns away.
  template <class W>
  static __device__ int column(int lane, int half) {
    return sizeof(W) == 4 ? lane * 4 + half * kColumns / 2 : lane * kLaneColumns + half * 4;
  }
  // The index of a column's sum in shared memory.
  template <class W>
  static __device__ int sum_index(int column) {
    return sizeof(W) == 4 ? column / (kColumns / 2) * kSecond + column % (kColumns / 2)
                          : column / 4 % 2 * kSecond + column / kLaneColumns * 4 + column % 4;
  }
};

// Loads the lane's columns of row n of W_kvb; the block's columns begin at `begin`.
template <class W>
__device__ inline void weight_row(const MlaWeight& w, long long n, int begin, int depth,
                                  float (&v)[Absorb::kLaneColumns]) {
  const int lane = thread_index() % Absorb::kLanes;
  const int column = begin + Absorb::column<W>(lane, 0), second = begin + Absorb::column<W>(lane, 1);
  const W* row = static_cast<const W*>(w.data) + n * depth;
  auto at = [&](long long i) { return i < depth ? row + i : nullptr; };
  if constexpr (sizeof(W) == 4) {
    float (&low)[4] = reinterpret_cast<float (&)[4]>(v[0]), (&high)[4] = reinterpret_cast<float (&)[4]>(v[4]);
    fetch<W>(at, column, w.aligned, [] { return 1.0f; }, low);
    fetch<W>(at, second, w.aligned, [] { return 1.0f; }, high);
  } else {  // eight columns starting at a multiple of eight share one scale
    const int block = static_cast<int>(n / kScaleBlock) * divide_up(depth, kScaleBlock);
    fetch<W>(at, column, w.aligned, [&] { return sizeof(W) == 1 ? w.scales[block + column / kScaleBlock] : 1.0f; }, v);
  }
}

// Block (columns, head, sequences).
template <class W>
__device__ inline void mla_absorb(const MlaAbsorbParameters& p) {
  __shared__ float q[Absorb::kSequences][Absorb::kDepth];
  __shared__ __align__(16) float partial_sums[Absorb::kHalfWarps][Absorb::kStride];
  const int thread = thread_index(), half_warp = thread / Absorb::kLanes, head = block_y();
  const int first = block_z() * Absorb::kSequences, begin = block_x() * Absorb::kColumns;
  const int qk_dim = p.w.qk_dim(), width = p.latent + p.w.rope;
  auto query = [&](int s, int i) {
    float v[1] = {0};
    if (first + s < p.sequences)
      load_as<1>(p.q_bf16, p.q, (static_cast<long long>(first + s) * p.w.heads + head) * qk_dim + i, v);
    return v[0];
  };
  auto put = [&](int s, int i, float value) {
    const float v[1] = {value};
    if (first + s < p.sequences)
      store_as<1>(p.out_bf16, p.out, (static_cast<long long>(first + s) * p.w.heads + head) * width + i, v);
  };
  float sums[Absorb::kSequences][Absorb::kLaneColumns] = {};
  for (int from = 0; from < p.w.nope; from += Absorb::kDepth) {
    const int count = min(Absorb::kDepth, p.w.nope - from);
    __syncthreads();  // wait until all threads have read the previous elements
    for (int i = thread; i < Absorb::kSequences * count; i += Absorb::kThreads)
      q[i / count][i % count] = query(i / count, from + i % count);
    __syncthreads();
#pragma unroll 4
    for (int i = half_warp; i < count; i += Absorb::kHalfWarps) {
      float w[Absorb::kLaneColumns];
      weight_row<W>(p.w, static_cast<long long>(head) * p.w.head_rows() + from + i, begin, p.latent, w);
#pragma unroll
      for (int s = 0; s < Absorb::kSequences; s++)
#pragma unroll
        for (int j = 0; j < Absorb::kLaneColumns; j++) sums[s][j] = fmaf(q[s][i], w[j], sums[s][j]);
    }
  }
#pragma unroll
  for (int s = 0; s < Absorb::kSequences; s++) {
    __syncthreads();
    float* to = &partial_sums[half_warp][thread % Absorb::kLanes * 4];
    store<4>(to, reinterpret_cast<float (&)[4]>(sums[s][0]));
    store<4>(to + Absorb::kSecond, reinterpret_cast<float (&)[4]>(sums[s][4]));
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < Absorb::kHalfWarps; i++) sum += partial_sums[i][Absorb::sum_index<W>(thread)];
    if (begin + thread < p.latent) put(s, begin + thread, sum);
  }
  if (blockIdx.x != 0) return;
  for (int i = thread; i < Absorb::kSequences * p.w.rope; i += Absorb::kThreads)
    put(i / p.w.rope, p.latent + i % p.w.rope, query(i / p.w.rope, p.w.nope + i % p.w.rope));
}

#define CARACAL_MLA_ABSORB(W)                                                        \
  CARACAL_KERNEL(kMlaAbsorb, mla_absorb_##W, __launch_bounds__(Absorb::kThreads, 2), \
                 const __grid_constant__ MlaAbsorbParameters p) {                    \
    mla_absorb<W>(p);                                                                \
  }
CARACAL_MLA_ABSORB(f32)
CARACAL_MLA_ABSORB(bf16)
CARACAL_MLA_ABSORB(f8e4m3)
#undef CARACAL_MLA_ABSORB

// --- split: attention of q~ over the keys of one split --------------------------------------------------------------

// Block (split, heads and columns of the latent, sequence), in exact f32.
template <int Columns>
__device__ inline void mla_split_simt(const MlaSplitParameters& p) {
  static_assert(kSplitKeys % SimtFlash::kKeys == 0, "only the last tile of a sequence is partial");
  __shared__ SimtFlashMemory<Columns> memory;
  const int s = block_z(), first = block_x() * kSplitKeys;
  const int head_tiles = divide_up(p.heads, SimtFlash::kRows);
  const int head = block_y() % head_tiles * SimtFlash::kRows, column = block_y() / head_tiles * Columns * kWarp;
  const int keys = min(length_of(p.cache, s) - first, kSplitKeys);
  if (keys <= 0) return;
  auto q = [&](int r) {
    return head + r < p.heads
               ? static_cast<const float*>(p.q) + (static_cast<long long>(s) * p.heads + head + r) * p.cache.width
               : nullptr;
  };
  auto key = [&](int i) { return cache_row(p.cache, s, first + i); };
  SimtFlashState<Columns> state;
  state.clear();
  attend(memory,
         SimtFlashOperands<decltype(q), decltype(key), decltype(key)>{
             q, key, key, false, p.cache.bf16, p.cache.bf16, p.aligned, p.cache.width, p.cache.latent, column, p.scale},
         keys, keys, 0, state);
  const int lane = lane_index(), row = warp_index() * SimtFlash::kWarpRows;
#pragma unroll
  for (int r = 0; r < SimtFlash::kWarpRows; r++) {
    if (head + row + r >= p.heads) break;
    const long long at = (static_cast<long long>(s) * p.splits + blockIdx.x) * p.heads + head + row + r;
    if (column == 0 && lane == 0) {
      p.stats[2 * at] = state.max[r];
      p.stats[2 * at + 1] = state.sum[r];
    }
#pragma unroll
    for (int c = 0; c < Columns; c++)
      if (const int i = column + c * kWarp + lane; i < p.cache.latent) p.sums[at * p.cache.latent + i] = state.o[r][c];
  }
}

#define CARACAL_MLA_SPLIT(Columns)                                                                   \
  CARACAL_KERNEL(kMlaSplitSimt, mla_split_simt_##Columns, __launch_bounds__(SimtFlash::kThreads, 2), \
                 const __grid_constant__ MlaSplitParameters p) {                                     \
    mla_split_simt<Columns>(p);                                                                      \
  }
CARACAL_MLA_SPLIT(1)
CARACAL_MLA_SPLIT(2)
CARACAL_MLA_SPLIT(3)
CARACAL_MLA_SPLIT(4)
#undef CARACAL_MLA_SPLIT
static_assert(SimtFlash::kMaxColumns == 4, "every number of columns has an entry");

// Block (split, heads, sequence), on tensor cores.
template <class Split>
__device__ inline void mla_split_tensor(const MlaSplitParameters& p) {
  extern __shared__ __align__(128) uint8_t shared[];
  auto& memory = *reinterpret_cast<typename Split::Memory*>(shared);
  const int s = block_z(), first = block_x() * kSplitKeys, head = block_y() * Split::kHeads;
  const int keys = min(length_of(p.cache, s) - first, kSplitKeys);
  if (keys <= 0) return;
  for (int i = thread_index(); i < keys; i += Split::kThreads) memory.rows[i] = cache_row(p.cache, s, first + i);
  __syncthreads();
  typename Split::Sums sums = {};
  Split::attend(
      memory,
      [&](int r) {
        const long long row = static_cast<long long>(s) * p.heads + head + r;
        return head + r < p.heads ? static_cast<const bf16*>(p.q) + row * Split::kWidth : nullptr;
      },
      p.q, keys, p.scale, sums);
  const long long at = (static_cast<long long>(s) * p.splits + blockIdx.x) * p.heads + head;
  const int lane = lane_index(), warp = warp_index();
  for (int r = thread_index(); r < Split::kHeads && head + r < p.heads; r += Split::kThreads)
    *reinterpret_cast<float2*>(p.stats + 2 * (at + r)) = {memory.max[0][r], memory.sum[0][r] + memory.sum[1][r]};
#pragma unroll
  for (int g = 0; g < Split::kGroups; g++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int r = g * 16 + lane / 4 + 8 * half;
      if (head + r >= p.heads) continue;
      float* to = p.sums + (at + r) * Split::kLatent + warp * Split::kColumns + lane % 4 * 2;
#pragma unroll
      for (int i = 0; i < Split::kTiles; i++)
        *reinterpret_cast<float2*>(to + i * 8) = {sums[g][i][2 * half], sums[g][i][2 * half + 1]};
    }
}

#define CARACAL_MLA_SPLIT(Heads)                                                                          \
  CARACAL_KERNEL(kMlaSplitTensor, mla_split_tensor_##Heads, __launch_bounds__(MlaSplitTile::kThreads, 1), \
                 const __grid_constant__ MlaSplitParameters p) {                                          \
    mla_split_tensor<MlaSplitTensor<Heads>>(p);                                                           \
  }
CARACAL_MLA_SPLIT(16)
CARACAL_MLA_SPLIT(64)
#undef CARACAL_MLA_SPLIT

// --- merge ----------------------------------------------------------------------------------------------------------

// Block (head, sequence). V columns at a time.
template <int V>
__device__ inline void merge_splits(const MlaMergeParameters& p) {
  const int s = block_y(), head = block_x(), length = p.lengths[s];
  const int splits = length < 0 || length > p.max_keys ? 0 : divide_up(length, kSplitKeys);
  const long long first = static_cast<long long>(s) * p.splits * p.heads + head,
                  row = static_cast<long long>(s) * p.heads + head;
  float max = -INFINITY, sum = 0;
  for (int i = 0; i < splits; i++) max = fmaxf(max, p.stats[2 * (first + static_cast<long long>(i) * p.heads)]);
  auto factor = [&](long long at) { return exp2f(p.stats[2 * at] - (max == -INFINITY ? 0.0f : max)); };
  for (int i = 0; i < splits; i++) {
    const long long at = first + static_cast<long long>(i) * p.heads;
    sum = fmaf(p.stats[2 * at + 1], factor(at), sum);
  }
  for (int c = thread_index() * V; c < p.latent; c += thread_count() * V) {
    float o[V] = {};
#pragma unroll 4
    for (int i = 0; i < splits; i++) {
      const long long at = first + static_cast<long long>(i) * p.heads;
      const float weight = factor(at);
      float v[V];
      load<V>(p.sums + at * p.latent + c, v);
#pragma unroll
      for (int j = 0; j < V; j++) o[j] = fmaf(v[j], weight, o[j]);
    }
#pragma unroll
    for (int j = 0; j < V; j++) o[j] = sum == 0 ? 0.0f : o[j] / sum;
    if constexpr (V == 1) {
      store_as<1>(p.out_bf16, p.out, row * p.latent + c, o);
    } else if (p.out_bf16) {
      store<V>(static_cast<bf16*>(p.out) + row * p.latent + c, o);
    } else {
      store<V>(static_cast<float*>(p.out) + row * p.latent + c, o);
    }
  }
  constexpr float kLn2 = 0.69314718f;
  if (threadIdx.x == 0) p.lse[row] = sum == 0 ? -INFINITY : (max + log2f(sum)) * kLn2;
}

CARACAL_KERNEL(kMlaMerge, mla_merge, , const __grid_constant__ MlaMergeParameters p) {
  if (p.aligned)
    merge_splits<4>(p);
  else
    merge_splits<1>(p);
}

// --- values: o = Wv o~ ----------------------------------------------------------------------------------------------

using SimtValues = SimtTile<kMlaValuesSimtShape>;

// Block (columns, head, sequences), in exact f32.
template <class W>
__device__ inline void mla_values_simt(const MlaValuesParameters& p) {
  const int head = block_y(), first = block_z() * SimtValues::kTileM, column = block_x() * SimtValues::kTileN;
  simt_rows_product<SimtValues, float, W>(
      p.w, p.latent,
      [&](int r) {
        return first + r < p.sequences
                   ? static_cast<const float*>(p.x) + (static_cast<long long>(first + r) * p.w.heads + head) * p.latent
                   : nullptr;
      },
      [&](int c) {
        return column + c < p.w.value ? static_cast<long long>(head) * p.w.head_rows() + p.w.nope + column + c : -1;
      },
      [&](int r, int c, float sum) {
        const float v[1] = {sum};
        if (first + r < p.sequences && column + c < p.w.value)
          store_as<1>(p.out_bf16, p.out,
                      (static_cast<long long>(first + r) * p.w.heads + head) * p.w.value + column + c, v);
      });
}

#define CARACAL_MLA_VALUES(W)                                                                  \
  CARACAL_KERNEL(kMlaValuesSimt, mla_values_simt_##W, __launch_bounds__(SimtValues::kThreads), \
                 const __grid_constant__ MlaValuesParameters p) {                              \
    mla_values_simt<W>(p);                                                                     \
  }
CARACAL_MLA_VALUES(f32)
CARACAL_MLA_VALUES(bf16)
CARACAL_MLA_VALUES(f8e4m3)
#undef CARACAL_MLA_VALUES

// Row and column of the product are a sequence and a column of the block's head.
struct ValuesEpilogue {
  void* out;
  int heads, value, head;
  bool bf16, aligned;
};
template <int V>
__device__ inline void finish(const ValuesEpilogue& e, long long, long long row, long long column,
                              float (&sums)[1][V]) {
  store_as<V>(e.bf16, e.out, (row * e.heads + e.head) * e.value + column, sums[0]);
}

// Block (columns, head, sequences), on tensor cores.
template <class Tile, class W>
__device__ inline void mla_values_tensor(const MlaValuesParameters& p) {
  extern __shared__ __align__(128) uint8_t ring[];
  static_assert(kScaleBlock % Tile::kTileN == 0, "the columns of a tile share a block of scales");
  const int head = block_y(), warp = warp_index();
  const TilePosition at{static_cast<long long>(blockIdx.z) * Tile::kTileM,
                        static_cast<long long>(blockIdx.x) * Tile::kTileN};
  const long long first = static_cast<long long>(head) * p.w.head_rows() + p.w.nope + at.column;  // row of W_kvb
  const GemmOperands operands{p.x, {p.w.data}, {p.w.scales}, p.sequences, p.w.value, p.latent, p.w.aligned};
  const int warp_m = warp / Tile::kWarpsN * Tile::kWarpM, warp_n = warp % Tile::kWarpsN * Tile::kWarpN;
  auto x_row = [&](int r) {
    return at.row + r < p.sequences ? static_cast<const bf16*>(p.x) + ((at.row + r) * p.w.heads + head) * p.latent
                                    : nullptr;
  };
  auto w_row = [&](int c) {
    return at.column + c < p.w.value ? static_cast<const W*>(p.w.data) + (first + c) * p.latent : nullptr;
  };
  auto scale = [&](int, long long block) {
    return p.w.scales[first / kScaleBlock * divide_up(p.latent, kScaleBlock) + block];
  };
  TensorSums<1, Tile> sums = {};
  tensor_main_loop<1, Tile, W>(ring, operands, TensorLoadX<Tile, W>(x_row, p.x), w_row, scale, warp_m, warp_n, sums,
                               p.sequences - at.row);
  tensor_store<1, Tile>(reinterpret_cast<float*>(ring), operands,
                        ValuesEpilogue{p.out, p.w.heads, p.w.value, head, p.out_bf16, p.out_aligned}, at, warp_m,
                        warp_n, sums);
}

using TensorValuesSmall = TensorTile<kMlaValuesTensorShapes[0]>;
using TensorValuesMedium = TensorTile<kMlaValuesTensorShapes[1]>;

#define CARACAL_MLA_VALUES(W, Tile, tile)                                                         \
  static_assert(Tile::kName == #tile, "the host launches this tile under another name");          \
  CARACAL_KERNEL(kMlaValuesTensor, mla_values_##tile##_##W, __launch_bounds__(Tile::kThreads, 1), \
                 const __grid_constant__ MlaValuesParameters p) {                                 \
    mla_values_tensor<Tile, W>(p);                                                                \
  }
CARACAL_MLA_VALUES(bf16, TensorValuesSmall, tensor_small)
CARACAL_MLA_VALUES(bf16, TensorValuesMedium, tensor_medium)
CARACAL_MLA_VALUES(f8e4m3, TensorValuesSmall, tensor_small)
CARACAL_MLA_VALUES(f8e4m3, TensorValuesMedium, tensor_medium)
#undef CARACAL_MLA_VALUES

}  // namespace caracal

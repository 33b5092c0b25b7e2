// Expands latents to keys and values of all heads, with 2 x 512 x 16384 FLOP per key. They are written once, as
// 64 x (192 + 128) bf16 or f32 (40 or 80 KiB) per key, and every tile of queries of their sequence reads them through
// L2. The attention itself is that of flash.cu, S^2 x 64 x 320 FLOP for a prompt of S tokens.
#include "cuda/device/index.cuh"
#include "cuda/gemm/tensor.cuh"
#include "ops/attention/mla_prefill.kernels.h"
#include "ops/attention/mla_product.cuh"
#include "ops/attention/paged.cuh"

namespace caracal {

// The address of element `column` of W_kvb c of a key, in its head's key or value. Vectors of neighbouring columns do
// not cross from one into the other.
template <class Out>
__device__ inline Out* expanded_element(const MlaKeysParameters& p, long long key, long long column) {
  const int columns = p.w.head_rows(), i = static_cast<int>(column % columns);
  const long long row = key * p.w.heads + column / columns;
  return i < p.w.nope ? static_cast<Out*>(p.k) + row * p.w.qk_dim() + i
                      : static_cast<Out*>(p.v) + row * p.w.value + (i - p.w.nope);
}

// A block's keys: `count` of sequence s, from key `first` of the chunk on.
struct KeysTile {
  int s, first, count;

  __device__ KeysTile(const MlaKeysParameters& p, int rows) : s(block_z()), first(block_y() * rows) {
    const long long remaining = length_of(p.cache, s) - p.first - first;
    count = static_cast<int>(min(remaining, static_cast<long long>(min(rows, p.room - first))));
  }
  template <class C>
  __device__ const C* latent(const MlaKeysParameters& p, int r) const {
    return r < count ? static_cast<const C*>(cache_row(p.cache, s, p.first + first + r)) : nullptr;
  }
  __device__ long long key(const MlaKeysParameters& p) const { return static_cast<long long>(s) * p.room + first; }
};

// Copies the rotated part of the keys, which all heads share, to the heads whose columns begin in this block; V
// elements at a time.
template <class C, class Out, int V>
__device__ inline void copy_rotated(const MlaKeysParameters& p, const KeysTile& t, long long column, int columns) {
  const int head_columns = p.w.head_rows(), items = p.w.rope / V;
  const int head = static_cast<int>(divide_up(column, head_columns));
  const int end = static_cast<int>(min(divide_up(column + columns, head_columns), static_cast<long long>(p.w.heads)));
  for (int i = thread_index(); i < t.count * (end - head) * items; i += thread_count()) {
    const int r = i / items / (end - head), h = head + i / items % (end - head), e = i % items * V;
    const C* row = t.template latent<C>(p, r);
    float v[V] = {};
    if (row) load<V>(row + p.cache.latent + e, v);
    store<V>(static_cast<Out*>(p.k) + ((t.key(p) + r) * p.w.heads + h) * p.w.qk_dim() + p.w.nope + e, v);
  }
}

// --- exact f32 ------------------------------------------------------------------------------------------------------

using SimtKeys = SimtTile<kMlaKeysSimtShape>;

// Block (columns, keys, sequence).
template <class C, class W>
__device__ inline void mla_keys_simt(const MlaKeysParameters& p) {
  const KeysTile t(p, SimtKeys::kTileM);
  if (t.count <= 0) return;
  const long long column = static_cast<long long>(blockIdx.x) * SimtKeys::kTileN;
  const long long n = static_cast<long long>(p.w.heads) * p.w.head_rows();
  simt_rows_product<SimtKeys, C, W>(
      p.w, p.cache.latent, [&](int r) { return t.template latent<C>(p, r); },
      [&](int c) { return column + c < n ? column + c : -1; },
      [&](int r, int c, float sum) {
        if (r < t.count && column + c < n) *expanded_element<float>(p, t.key(p) + r, column + c) = sum;
      });
  copy_rotated<C, float, 1>(p, t, column, SimtKeys::kTileN);
}

#define CARACAL_MLA_KEYS(C, W)                                                                    \
  CARACAL_KERNEL(kMlaKeysSimt, mla_keys_simt_##C##_##W, __launch_bounds__(SimtKeys::kThreads, 2), \
                 const __grid_constant__ MlaKeysParameters p) {                                   \
    mla_keys_simt<C, W>(p);                                                                       \
  }
CARACAL_MLA_KEYS(f32, f32)
CARACAL_MLA_KEYS(f32, bf16)
CARACAL_MLA_KEYS(f32, f8e4m3)
CARACAL_MLA_KEYS(bf16, f32)
CARACAL_MLA_KEYS(bf16, bf16)
CARACAL_MLA_KEYS(bf16, f8e4m3)
#undef CARACAL_MLA_KEYS

// --- tensor cores ---------------------------------------------------------------------------------------------------

using TensorKeys = TensorTile<kMlaKeysTensorShape>;

struct KeysEpilogue {
  const MlaKeysParameters& p;
  long long key;  // of row 0
  bool bf16 = true, aligned = true;
};
template <int V>
__device__ inline void finish(const KeysEpilogue& e, long long, long long row, long long column, float (&sums)[1][V]) {
  store_as<V>(true, expanded_element<bf16>(e.p, e.key + row, column), 0, sums[0]);
}

// Block (columns, keys, sequence).
template <class W>
__device__ inline void mla_keys_tensor(const MlaKeysParameters& p) {
  extern __shared__ __align__(128) uint8_t ring[];
  using Tile = TensorKeys;
  static_assert(kScaleBlock % Tile::kTileN == 0, "the columns of a tile share a block of scales");
  const KeysTile t(p, Tile::kTileM);
  if (t.count <= 0) return;
  const long long column = static_cast<long long>(blockIdx.x) * Tile::kTileN;
  const long long n = static_cast<long long>(p.w.heads) * p.w.head_rows();
  const GemmOperands operands{p.cache.rows, {p.w.data}, {p.w.scales}, t.count, n, p.cache.latent, true};
  const int warp = warp_index();
  const int warp_m = warp / Tile::kWarpsN * Tile::kWarpM, warp_n = warp % Tile::kWarpsN * Tile::kWarpN;
  auto x_row = [&](int r) { return t.template latent<bf16>(p, r); };
  auto w_row = [&](int c) {
    return column + c < n ? static_cast<const W*>(p.w.data) + (column + c) * p.cache.latent : nullptr;
  };
  auto scale = [&](int, long long block) {
    return p.w.scales[column / kScaleBlock * divide_up(p.cache.latent, kScaleBlock) + block];
  };
  TensorSums<1, Tile> sums = {};
  tensor_main_loop<1, Tile, W>(ring, operands, TensorLoadX<Tile, W>(x_row, p.cache.rows), w_row, scale, warp_m, warp_n,
                               sums, t.count);
  tensor_store<1, Tile>(reinterpret_cast<float*>(ring), operands, KeysEpilogue{p, t.key(p)}, {0, column}, warp_m,
                        warp_n, sums);
  copy_rotated<bf16, bf16, 8>(p, t, column, Tile::kTileN);
}

#define CARACAL_MLA_KEYS(W)                                                                       \
  CARACAL_KERNEL(kMlaKeysTensor, mla_keys_tensor_##W, __launch_bounds__(TensorKeys::kThreads, 1), \
                 const __grid_constant__ MlaKeysParameters p) {                                   \
    mla_keys_tensor<W>(p);                                                                        \
  }
CARACAL_MLA_KEYS(bf16)
CARACAL_MLA_KEYS(f8e4m3)
#undef CARACAL_MLA_KEYS

}  // namespace caracal

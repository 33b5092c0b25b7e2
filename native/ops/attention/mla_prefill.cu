// Keys and values of all heads from the latents: 2 x 512 x 16384 FLOP a key. They are written once, 64 x (192 + 128)
// bf16 or f32 (40 or 80 KiB), and read by every tile of queries of their sequence through the L2. The attention itself is
// flash.cu's: S^2 x 64 x 320 FLOP for a prompt of S tokens.
#include "cuda/attention/paged.cuh"
#include "cuda/attention/product.cuh"

namespace caracal {

// One column of W_kvb c of a key: an element of its head's key or value.
__device__ inline float* key_element(const MlaKeysParameters& p, long long key, long long column) {
  const int columns = p.w.nope + p.w.value, i = static_cast<int>(column % columns);
  const long long row = key * p.w.heads + column / columns;
  return i < p.w.nope ? static_cast<float*>(p.k) + row * (p.w.nope + p.w.rope) + i
                      : static_cast<float*>(p.v) + row * p.w.value + (i - p.w.nope);
}

using KeysTile = SimtTile<64, 64, 4, 4>;

// The rotated part of the keys, which all heads share, goes to those heads whose columns begin in this block.
template <class C>
__device__ inline void copy_rotated(const MlaKeysParameters& p, int s, int first, int count, long long column,
                                    int columns) {
  const int head_columns = p.w.nope + p.w.value;
  const int head = static_cast<int>((column + head_columns - 1) / head_columns);
  const int last =
      static_cast<int>(min((column + columns + head_columns - 1) / head_columns, static_cast<long long>(p.w.heads)));
  for (int i = static_cast<int>(threadIdx.x); i < count * (last - head) * p.w.rope; i += static_cast<int>(blockDim.x)) {
    const int r = i / p.w.rope / (last - head), h = head + i / p.w.rope % (last - head), e = i % p.w.rope;
    const auto* row = static_cast<const C*>(cache_row(p.cache, s, p.first + first + r));
    const long long at = ((static_cast<long long>(s) * p.room + first + r) * p.w.heads + h) * (p.w.nope + p.w.rope);
    static_cast<float*>(p.k)[at + p.w.nope + e] = row ? to_float(row[p.cache.latent + e]) : 0.0f;
  }
}

// Block (columns, keys, sequence).
template <class C, class W>
__device__ inline void mla_keys_simt(const MlaKeysParameters& p) {
  const int s = static_cast<int>(blockIdx.z), first = static_cast<int>(blockIdx.y) * KeysTile::kTileM;
  const long long left = length_of(p.cache, s) - p.first - first;
  const int count = static_cast<int>(min(left, static_cast<long long>(min(KeysTile::kTileM, p.room - first))));
  if (count <= 0) return;
  const long long column = static_cast<long long>(blockIdx.x) * KeysTile::kTileN;
  const long long n = static_cast<long long>(p.w.heads) * (p.w.nope + p.w.value);
  simt_rows_product<KeysTile, C, W>(
      p.w, p.cache.latent,
      [&](int r) { return r < count ? static_cast<const C*>(cache_row(p.cache, s, p.first + first + r)) : nullptr; },
      [&](int c) { return column + c < n ? column + c : -1; },
      [&](int r, int c, float sum) {
        if (r < count && column + c < n)
          *key_element(p, static_cast<long long>(s) * p.room + first + r, column + c) = sum;
      });
  copy_rotated<C>(p, s, first, count, column, KeysTile::kTileN);
}

#define CARACAL_MLA_KEYS(C, W)                                               \
  extern "C" __global__ void __launch_bounds__(KeysTile::kThreads, 2)        \
      mla_keys_simt_##C##_##W(const __grid_constant__ MlaKeysParameters p) { \
    mla_keys_simt<C, W>(p);                                                  \
  }
CARACAL_MLA_KEYS(f32, f32)
CARACAL_MLA_KEYS(f32, bf16)
CARACAL_MLA_KEYS(f32, f8e4m3)
CARACAL_MLA_KEYS(bf16, f32)
CARACAL_MLA_KEYS(bf16, bf16)
CARACAL_MLA_KEYS(bf16, f8e4m3)
#undef CARACAL_MLA_KEYS

}  // namespace caracal

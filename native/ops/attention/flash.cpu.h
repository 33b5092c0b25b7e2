#pragma once
// Attention of a tile of queries, one block of keys after another, with a running maximum and sum ("online softmax",
// Milakov & Gimelshein 2018, as FlashAttention uses it).
//
// Scores and values are products of gemm_kernel.h: keys are packed as panels [ceil(n / 16)][depth][16], values as
// panels [ceil(dim / 16)][n rounded up to 16][16]. A row's bits depend on its query, its keys and on where blocks of
// keys start, which is at multiples of kKeyBlock of the sequence: not on the other rows of its tile.
//
// The exponentials are powers of two: queries come multiplied by scale * log2(e), and maxima are in that unit too.
#include <math.h>
#include <string.h>

#include "cpu/gemm_kernel.h"
#include "cpu/gemm_rows.h"
#include "cpu/implement.h"
#include "cpu/math.h"

namespace caracal::CARACAL_ISA {

inline constexpr int64_t kKeyBlock = 256;
// Enough for the 64 heads that read a latent together, few enough that queries and a panel of keys stay in L1.
inline constexpr int64_t kQueryRows = (64 + kTileRows - 1) / kTileRows * kTileRows;

CARACAL_INLINE constexpr int64_t up_to_16(int64_t n) { return (n + 15) / 16 * 16; }

inline constexpr double kLog2E = 1.4426950408889634;

// 2^x for x <= 0, error below 0.6 ulp; exactly 1 at 0, and 0 below -126.5. A NaN stays one.
CARACAL_INLINE F32x16 power_of_two(F32x16 x) {
  constexpr float kMagic = kRoundMagic + 127;  // the sum's low bits are the exponent field of 2^n
  x = max(set1(-127.f), x);
  const F32x16 shifted = x + set1(kMagic);
  const F32x16 r = x - (shifted - set1(kMagic));
  constexpr float c[] = {1.f, 6.931472e-1f, 2.4022648e-1f, 5.55036e-2f, 9.618506e-3f, 1.3390806e-3f, 1.5326471e-4f};
  U32x16 power = bits_of(shifted);
  CARACAL_EACH_PART power.v[part] <<= 23;
  return polynomial(r, c) * from_bits(power);
}

CARACAL_INLINE float power_of_two(float x) { return hmax(power_of_two(set1(x))); }

// Queries [rows][depth], already multiplied by scale * log2(e), and what is known of their answers so far.
struct QueryTile {
  int64_t rows;  // at most kQueryRows
  int64_t depth;
  int64_t value_panels;
  const float* q;
  float* max;  // [kQueryRows]
  float* sum;  // [kQueryRows]
  float* o;    // [value_panels][kQueryRows][16], not yet divided by the sum
};

// Keys [0, count) of a block. Row r of the tile sees those before `visible` + r * `step`: step is 1 under a causal mask
// and 0 without.
struct KeyBlock {
  int64_t count;  // at most kKeyBlock
  const float* k;
  const float* v;
  int64_t value_panel_stride;
  int64_t visible, step;

  CARACAL_INLINE int64_t seen_by(int64_t row) const {
    const int64_t n = visible + row * step;
    return n < 0 ? 0 : n < count ? n : count;
  }
};

struct FlashScratch {
  float scores[kKeyBlock * kQueryRows];  // [panel][row][16]
  float weights[kQueryRows * kKeyBlock];
};

CARACAL_INLINE int64_t query_state_floats(int64_t value_panels) { return kQueryRows * (2 + value_panels * 16); }

// A tile whose state begins at `state`: query_state_floats() of them.
CARACAL_INLINE QueryTile query_tile(int64_t rows, int64_t depth, int64_t value_panels, const float* q, float* state) {
  return {rows, depth, value_panels, q, state, state + kQueryRows, state + 2 * kQueryRows};
}

inline void start(const QueryTile& t) {
  for (int64_t r = 0; r < kQueryRows; r++) t.max[r] = -INFINITY;
  memset(t.sum, 0, sizeof(float) * static_cast<size_t>(kQueryRows * (1 + t.value_panels * 16)));
}

// Rows x panels of a product: for every row tile, `run` gets it and its rows.
template <class Fn>
CARACAL_INLINE void for_row_tiles(int64_t rows, Fn&& fn) {
  for (int64_t r = 0; r < rows; r += kTileRows) fn(r, static_cast<int>(rows - r < kTileRows ? rows - r : kTileRows));
}

inline constexpr int kPassPanels = panels_per_pass(kTileRows);

// Gives a row tile its panels, `stride` floats apart, and its share of fetching those of the next pass.
CARACAL_INLINE void set_panels(Tile<float>& tile, const float* panels, int64_t stride, int width, int64_t row,
                               int64_t rows) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  tile.ahead_step = (64 + tiles - 1) / tiles;
  for (int i = 0; i < width; i++) {
    tile.w[i] = panels + i * stride;
    tile.ahead[i] =
        reinterpret_cast<const char*>(tile.w[i] + kPassPanels * stride) + row / kTileRows * tile.k * tile.ahead_step;
  }
}

inline void compute_scores(const QueryTile& t, const KeyBlock& b, float* scores) {
  const int64_t panels = up_to_16(b.seen_by(t.rows - 1)) / 16;
  for (int64_t p = 0; p < panels; p += kPassPanels) {
    const int width = static_cast<int>(panels - p < kPassPanels ? panels - p : kPassPanels);
    for_row_tiles(t.rows, [&](int64_t r, int rows) {
      Tile<float> tile{};
      tile.a = t.q + r * t.depth;
      tile.a_stride = t.depth;
      tile.k = t.depth;
      set_panels(tile, b.k + p * t.depth * 16, t.depth * 16, width, r, t.rows);
      tile.c = scores + (p * kQueryRows + r) * 16;
      tile.c_panel_stride = kQueryRows * 16;
      run_tile(tile, rows, width);
    });
  }
}

// Lane i is true where i < n.
CARACAL_INLINE Mask16 first_lanes(int64_t n) {
  alignas(64) static constexpr float kLane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load16(kLane) < set1(static_cast<float>(n));
}

CARACAL_INLINE float row_max(const float* scores, int64_t seen) {
  F32x16 most = set1(-INFINITY);
  for (int64_t j = 0; j < seen; j += 16) {
    const F32x16 s = load16(scores + j * kQueryRows);
    most = max(most, seen - j < 16 ? select(first_lanes(seen - j), s, set1(-INFINITY)) : s);
  }
  return hmax(most);
}

// weights = 2^(scores - max) for the keys seen, zero up to `end`; returns their sum.
CARACAL_INLINE float row_weights(const float* scores, int64_t seen, int64_t end, float max, float* weights) {
  F32x16 sum = zero();
  int64_t j = 0;
  for (; j < seen; j += 16) {
    F32x16 w = power_of_two(load16(scores + j * kQueryRows) - set1(max));
    if (seen - j < 16) w = select(first_lanes(seen - j), w, zero());
    store16(weights + j, w);
    sum += w;
  }
  for (; j < end; j += 16) store16(weights + j, zero());
  return hsum(sum);
}

// Turns a row tile's scores into weights and brings its sums and outputs to the new maxima.
inline void rescale(const QueryTile& t, const KeyBlock& b, int64_t first, int rows, FlashScratch& s) {
  float old[16], now[16];
  for (int r = 0; r < 16; r++) old[r] = now[r] = 0;
  const int64_t end = up_to_16(b.seen_by(first + rows - 1));
  for (int r = 0; r < rows; r++) {
    const int64_t row = first + r;
    old[r] = t.max[row];
    const float most = row_max(s.scores + row * 16, b.seen_by(row));
    now[r] = old[r] > most ? old[r] : most;
  }
  float factor[16];
  store16(factor, power_of_two(load16(old) - load16(now)));
  for (int r = 0; r < rows; r++) {
    const int64_t row = first + r;
    const int64_t seen = b.seen_by(row);
    const float sum = row_weights(s.scores + row * 16, seen, end, now[r], s.weights + row * kKeyBlock);
    if (seen == 0) continue;
    t.max[row] = now[r];
    t.sum[row] = t.sum[row] * factor[r] + sum;
    if (factor[r] == 1) continue;
    for (int64_t p = 0; p < t.value_panels; p++) {
      float* o = t.o + (p * kQueryRows + row) * 16;
      store16(o, load16(o) * set1(factor[r]));
    }
  }
}

inline void add_values(const QueryTile& t, const KeyBlock& b, const float* weights) {
  for (int64_t p = 0; p < t.value_panels; p += kPassPanels) {
    const int width = static_cast<int>(t.value_panels - p < kPassPanels ? t.value_panels - p : kPassPanels);
    for_row_tiles(t.rows, [&](int64_t r, int rows) {
      Tile<float> tile{};
      tile.a = weights + r * kKeyBlock;
      tile.a_stride = kKeyBlock;
      tile.k = b.seen_by(r + rows - 1);
      set_panels(tile, b.v + p * b.value_panel_stride, b.value_panel_stride, width, r, t.rows);
      tile.c = t.o + (p * kQueryRows + r) * 16;
      tile.c_panel_stride = kQueryRows * 16;
      tile.resume = true;
      run_tile(tile, rows, width);
    });
  }
}

// Takes in one block of keys.
inline void attend(const QueryTile& t, const KeyBlock& b, FlashScratch& s) {
  if (b.seen_by(t.rows - 1) == 0) return;
  compute_scores(t, b, s.scores);
  for_row_tiles(t.rows, [&](int64_t r, int rows) { rescale(t, b, r, rows, s); });
  add_values(t, b, s.weights);
}

// out[row * stride + i] = the answer's element i < dim; zeros for a row that saw no key.
template <class T>
void finish(const QueryTile& t, int64_t dim, T* out, int64_t stride) {
  for (int64_t r = 0; r < t.rows; r++) {
    const F32x16 scale = set1(t.sum[r] == 0 ? 0.f : 1.f / t.sum[r]);
    for (int64_t i = 0; i < dim; i += 16) {
      const F32x16 value = load16(t.o + (i * kQueryRows) + r * 16) * scale;
      if (dim - i < 16)
        store_partial(out + r * stride + i, value, static_cast<int>(dim - i));
      else
        store16(out + r * stride + i, value);
    }
  }
}

template <class T>
CARACAL_INLINE void widen_scaled(const T* in, int64_t n, float scale, float* out) {
  for (int64_t i = 0; i < n; i++) out[i] = to_float(in[i]) * scale;
}

// --- packing --------------------------------------------------------------------------------------------------------

// Sixteen rows of `depth` floats to one key panel [depth][16]; depth is a multiple of 4.
inline void pack_keys(const float* rows, int64_t stride, int64_t depth, float* panel) {
  for (int64_t d = 0; d < depth; d += 4) {
    for (int64_t j = 0; j < 16; j += 4) {
      typedef float Unaligned __attribute__((vector_size(16), aligned(4), may_alias));
      auto load = [&](int64_t r) {
        return (Quarter) * reinterpret_cast<const Unaligned*>(rows + (j + r) * stride + d);
      };
      const Quarter a = load(0), b = load(1), c = load(2), e = load(3);
      const QuarterI low{0, 4, 1, 5}, high{2, 6, 3, 7};
      const Quarter ab_low = __builtin_shuffle(a, b, low), ab_high = __builtin_shuffle(a, b, high);
      const Quarter ce_low = __builtin_shuffle(c, e, low), ce_high = __builtin_shuffle(c, e, high);
      float* out = panel + d * 16 + j;
      auto store = [&](int64_t i, Quarter v) { *reinterpret_cast<Unaligned*>(out + i * 16) = v; };
      store(0, __builtin_shuffle(ab_low, ce_low, QuarterI{0, 1, 4, 5}));
      store(1, __builtin_shuffle(ab_low, ce_low, QuarterI{2, 3, 6, 7}));
      store(2, __builtin_shuffle(ab_high, ce_high, QuarterI{0, 1, 4, 5}));
      store(3, __builtin_shuffle(ab_high, ce_high, QuarterI{2, 3, 6, 7}));
    }
  }
}

// One row of `dim` values to its place in value panels: `out` is its first group.
template <class T>
CARACAL_INLINE void pack_value(const T* row, int64_t dim, int64_t panel_stride, float* out) {
  int64_t i = 0;
  for (; i + 16 <= dim; i += 16, out += panel_stride) store16(out, load16(row + i));
  if (i < dim) store16(out, load_partial(row + i, static_cast<int>(dim - i)));
}

}  // namespace caracal::CARACAL_ISA

#pragma once
// FlashAttention on the CPU: one tile of queries against one block of keys after another, with a running maximum and
// sum ("online softmax", Milakov & Gimelshein 2018).
//
// Scores and weighted values are products of gemm_kernel.h: keys are packed into panels [ceil(n / 16)][qk_dim][16],
// values into panels [ceil(v_dim / 16)][n rounded up to 16][16]. A row's bits depend on its query, its keys and the
// boundaries between blocks of keys, which callers place at fixed offsets in a sequence; they do not depend on the
// other rows of its tile.
//
// Exponentials are powers of two: queries are multiplied by score_scale() beforehand, and maxima are in the same unit.
#include <math.h>
#include <string.h>

#include "core/math.h"
#include "cpu/gemm_kernel.h"
#include "cpu/gemm_rows.h"
#include "cpu/implement.h"
#include "cpu/math.h"
#include "cpu/reduce.h"
#include "ops/attention/head_dim.h"

namespace caracal::CARACAL_ISA {

inline constexpr int64_t kKeyBlock = 256;
// Holds the model's 64 heads, which read a latent together, yet lets queries and a panel of keys stay in L1.
inline constexpr int64_t kQueryRows = round_up(64, kTileRows);

// 2^x for x <= 0 with an error below 0.6 ulp; exactly 1 at 0, and 0 below -126.5. NaN propagates.
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

// Queries [rows][qk_dim], multiplied by score_scale(), and the state of their online softmax.
struct QueryTile {
  int64_t rows;  // at most kQueryRows
  int64_t qk_dim;
  int64_t value_panels;
  const float* q;
  float* max;  // [kQueryRows]
  float* sum;  // [kQueryRows]
  float* o;    // [value_panels][kQueryRows][16], before the division by the sum
};

// Keys [0, count) of a block. Row r of the tile attends to keys before visible + r * step: step is 1 with a causal
// mask, else 0.
struct KeyBlock {
  int64_t count;  // at most kKeyBlock
  const float* k;
  const float* v;
  int64_t value_panel_stride;
  int64_t visible, step;

  CARACAL_INLINE int64_t visible_to(int64_t row) const {
    const int64_t n = visible + row * step;
    return n < 0 ? 0 : n < count ? n : count;
  }
};

struct FlashScratch {
  float scores[kKeyBlock * kQueryRows];  // [panel][row][16]
  float weights[kQueryRows * kKeyBlock];
};

CARACAL_INLINE int64_t query_state_floats(int64_t value_panels) { return kQueryRows * (2 + value_panels * 16); }

// `state` has query_state_floats(value_panels) floats.
CARACAL_INLINE QueryTile query_tile(int64_t rows, int64_t qk_dim, int64_t value_panels, const float* q, float* state) {
  return {rows, qk_dim, value_panels, q, state, state + kQueryRows, state + 2 * kQueryRows};
}

inline void start(const QueryTile& t) {
  for (int64_t r = 0; r < kQueryRows; r++) t.max[r] = -INFINITY;
  memset(t.sum, 0, sizeof(float) * static_cast<size_t>(kQueryRows * (1 + t.value_panels * 16)));
}

// fn(first, count) for every group of kTileRows rows; the last group may be smaller.
template <class Fn>
CARACAL_INLINE void for_row_tiles(int64_t rows, Fn&& fn) {
  for (int64_t r = 0; r < rows; r += kTileRows) fn(r, static_cast<int>(rows - r < kTileRows ? rows - r : kTileRows));
}

inline constexpr int kPassPanels = panels_per_pass(kTileRows);

// Sets the panels of a row tile, `stride` floats apart, and its share of prefetching the panels of the next pass.
CARACAL_INLINE void set_panels(Tile& tile, const float* panels, int64_t stride, int width, int64_t row, int64_t rows) {
  const int64_t tiles = divide_up(rows, kTileRows);
  tile.ahead_step = divide_up(64, tiles);
  for (int i = 0; i < width; i++) {
    const float* panel = panels + i * stride;
    tile.w[i] = reinterpret_cast<const std::byte*>(panel);
    tile.ahead[i] =
        reinterpret_cast<const char*>(panel + kPassPanels * stride) + row / kTileRows * tile.k * tile.ahead_step;
  }
}

inline void compute_scores(const QueryTile& t, const KeyBlock& b, float* scores) {
  const int64_t panels = divide_up(b.visible_to(t.rows - 1), 16);
  for (int64_t p = 0; p < panels; p += kPassPanels) {
    const int width = static_cast<int>(panels - p < kPassPanels ? panels - p : kPassPanels);
    for_row_tiles(t.rows, [&](int64_t r, int rows) {
      Tile tile{};
      tile.a = t.q + r * t.qk_dim;
      tile.a_stride = t.qk_dim;
      tile.k = t.qk_dim;
      set_panels(tile, b.k + p * t.qk_dim * 16, t.qk_dim * 16, width, r, t.rows);
      tile.c = scores + (p * kQueryRows + r) * 16;
      tile.c_panel_stride = kQueryRows * 16;
      run_tile<float>(tile, rows, width);
    });
  }
}

// Lane i is true where i < n.
CARACAL_INLINE Mask16 first_lanes(int64_t n) {
  alignas(64) static constexpr float kLane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load16(kLane) < set1(static_cast<float>(n));
}

CARACAL_INLINE float row_max(const float* scores, int64_t visible) {
  F32x16 largest = set1(-INFINITY);
  for (int64_t j = 0; j < visible; j += 16) {
    const F32x16 s = load16(scores + j * kQueryRows);
    largest = max(largest, visible - j < 16 ? select(first_lanes(visible - j), s, set1(-INFINITY)) : s);
  }
  return hmax(largest);
}

// weights = 2^(scores - max) for the visible keys and zero from there to `end`; returns their sum.
CARACAL_INLINE float row_weights(const float* scores, int64_t visible, int64_t end, float max, float* weights) {
  F32x16 sum = zero();
  int64_t j = 0;
  for (; j < visible; j += 16) {
    F32x16 w = power_of_two(load16(scores + j * kQueryRows) - set1(max));
    if (visible - j < 16) w = select(first_lanes(visible - j), w, zero());
    store16(weights + j, w);
    sum += w;
  }
  for (; j < end; j += 16) store16(weights + j, zero());
  return hsum(sum);
}

// Turns the scores of a row tile into weights and rescales its sums and outputs to the new maxima.
inline void rescale(const QueryTile& t, const KeyBlock& b, int64_t first, int rows, FlashScratch& s) {
  float old_max[16], new_max[16];
  for (int r = 0; r < 16; r++) old_max[r] = new_max[r] = 0;
  const int64_t end = round_up(b.visible_to(first + rows - 1), 16);
  for (int r = 0; r < rows; r++) {
    const int64_t row = first + r;
    old_max[r] = t.max[row];
    const float largest = row_max(s.scores + row * 16, b.visible_to(row));
    new_max[r] = old_max[r] > largest ? old_max[r] : largest;
  }
  float factor[16];
  store16(factor, power_of_two(load16(old_max) - load16(new_max)));
  for (int r = 0; r < rows; r++) {
    const int64_t row = first + r;
    const int64_t visible = b.visible_to(row);
    const float sum = row_weights(s.scores + row * 16, visible, end, new_max[r], s.weights + row * kKeyBlock);
    if (visible == 0) continue;
    t.max[row] = new_max[r];
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
      Tile tile{};
      tile.a = weights + r * kKeyBlock;
      tile.a_stride = kKeyBlock;
      tile.k = b.visible_to(r + rows - 1);
      set_panels(tile, b.v + p * b.value_panel_stride, b.value_panel_stride, width, r, t.rows);
      tile.c = t.o + (p * kQueryRows + r) * 16;
      tile.c_panel_stride = kQueryRows * 16;
      tile.resume = true;
      run_tile<float>(tile, rows, width);
    });
  }
}

// Adds one block of keys to the state of the tile.
inline void attend(const QueryTile& t, const KeyBlock& b, FlashScratch& s) {
  if (b.visible_to(t.rows - 1) == 0) return;
  compute_scores(t, b, s.scores);
  for_row_tiles(t.rows, [&](int64_t r, int rows) { rescale(t, b, r, rows, s); });
  add_values(t, b, s.weights);
}

// Writes the v_dim elements of row r to out + r * stride; zeros if the row has no visible key.
template <class T>
void finish(const QueryTile& t, int64_t v_dim, T* out, int64_t stride) {
  for (int64_t r = 0; r < t.rows; r++) {
    const F32x16 scale = set1(t.sum[r] == 0 ? 0.f : 1.f / t.sum[r]);
    for (int64_t i = 0; i < v_dim; i += 16) {
      const F32x16 value = load16(t.o + (i * kQueryRows) + r * 16) * scale;
      if (v_dim - i < 16)
        store_partial(out + r * stride + i, value, static_cast<int>(v_dim - i));
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

// Transposes sixteen rows into one key panel [qk_dim][16]; qk_dim is a multiple of 4.
inline void pack_keys(const float* rows, int64_t stride, int64_t qk_dim, float* panel) {
  for (int64_t d = 0; d < qk_dim; d += 4) {
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

// Copies one row of values into value panels; `out` is the row's place in the first panel.
template <class T>
CARACAL_INLINE void pack_value(const T* row, int64_t v_dim, int64_t panel_stride, float* out) {
  int64_t i = 0;
  for (; i + 16 <= v_dim; i += 16, out += panel_stride) store16(out, load16(row + i));
  if (i < v_dim) store16(out, load_partial(row + i, static_cast<int>(v_dim - i)));
}

}  // namespace caracal::CARACAL_ISA

#pragma once
// acc[t, c] = Σ_k weight[c, k] · x[t · stride + offset[k], c] with the taps in order of k, for FSMN memories and
// depthwise convolutions. A work item is a tile of time and channels. Its input is first widened into a small buffer,
// with the zero rows and the state's rows in place. (Channel counts are often powers of two, so reading the taps from
// the tensor itself would make them compete for a few cache sets.)
#include <algorithm>

#include "core/math.h"
#include "cpu/gemm_epilogue.h"
#include "ops/audio/streaming.cpu.h"

namespace caracal::CARACAL_ISA {

struct Taps {
  std::vector<int64_t> offsets;  // ascending
  int64_t stride = 1;
  int64_t count() const { return static_cast<int64_t>(offsets.size()); }
  int64_t span() const { return offsets.back() - offsets.front() + 1; }
};

inline constexpr int64_t kDepthwiseRows = 128;
inline constexpr int64_t kStripGroups = 4;        // adjacent groups of 16 channels: whole runs of cache lines
inline constexpr int64_t kItemTaps = 1 << 18;     // minimum products per item: waking a thread takes microseconds
inline constexpr int kRowsTogether = 8 / kParts;  // rows that share a tap's weights; eight registers hide fma latency

// Copies the taps of one group of channels to [K][16]. Most calls have few rows, beside which moving the elements one by
// one takes as long as the products, so whole groups move in squares of four channels by four taps.
template <class W>
void transpose_taps(const W* weight, int64_t taps, int lanes, float* out) {
  typedef float Quad __attribute__((vector_size(16)));
  typedef float QuadUnaligned __attribute__((vector_size(16), aligned(4), may_alias));
  if (lanes < 16 || taps < 4) {
    if (lanes < 16) std::fill_n(out, taps * 16, 0.f);
    for (int lane = 0; lane < lanes; lane++)
      for (int64_t k = 0; k < taps; k++) out[k * 16 + lane] = to_float(weight[lane * taps + k]);
    return;
  }
  for (int lane = 0; lane < 16; lane += 4) {
    const W* from = weight + lane * taps;
    for (int64_t next = 0; next < taps; next += 4) {
      const int64_t k = std::min(next, taps - 4);  // the last square may repeat taps
      auto channel = [&](int64_t c) {
        const W* p = from + c * taps + k;
        return Quad{to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3])};
      };
      const Quad a = channel(0), b = channel(1), c = channel(2), d = channel(3);
      const Quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Quad cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      auto* to = out + k * 16 + lane;
      *reinterpret_cast<QuadUnaligned*>(to) = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
      *reinterpret_cast<QuadUnaligned*>(to + 16) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
      *reinterpret_cast<QuadUnaligned*>(to + 32) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
      *reinterpret_cast<QuadUnaligned*>(to + 48) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
    }
  }
}

// Copies rows [first, first + rows) of the channels [channel, channel + 16·groups) to [groups][rows][16].
template <class T>
void gather_rows(const TimeRows<T>& x, int64_t first, int64_t rows, int64_t channel, int64_t groups, float* out) {
  const int tail = static_cast<int>(std::min<int64_t>(16, x.channels - channel - (groups - 1) * 16));
  for (int64_t r = 0; r < rows; r++) {
    const T* p = x.at(first + r);
    float* to = out + r * 16;
    for (int64_t g = 0; g + 1 < groups; g++) store16(to + g * rows * 16, p ? load16(p + channel + g * 16) : zero());
    const int64_t g = groups - 1;
    store16(to + g * rows * 16, p ? load(p + channel + g * 16, tail) : zero());
  }
}

// Makes GCC keep a loaded value in a register: it would reload it for every fma that uses it.
CARACAL_INLINE F32x16 held(F32x16 v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v.v[0]));
#elif defined(__x86_64__)
  CARACAL_EACH_PART asm("" : "+x"(v.v[part]));
#endif
  return v;
}

// Computes R output rows of one group of channels. Their input rows are `step` floats apart; x points to the input of
// the first row's first tap.
template <int R, class Epilogue>
CARACAL_INLINE void filter_rows(const float* x, int64_t step, const float* weight, const Taps& taps, int64_t row,
                                int64_t channel, int lanes, const Epilogue& epilogue) {
  F32x16 acc[R];  // all loops over it are unrolled: otherwise GCC 12 keeps it in memory
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) acc[r] = zero();
  const int64_t *offset = taps.offsets.data(), count = taps.count();
  int64_t k = 0;
  for (; k + 1 < count && offset[k + 1] - offset[k] == taps.stride; k += 2) {  // each input row serves two taps
    const F32x16 w = load16(weight + k * 16), next = load16(weight + k * 16 + 16);
    const float* p = x + (offset[k] - offset[0]) * 16;
    acc[0] = fma(w, load16(p), acc[0]);
#pragma GCC unroll 8
    for (int r = 1; r < R; r++) {
      const F32x16 v = held(load16(p + r * step));
      acc[r - 1] = fma(next, v, acc[r - 1]);
      acc[r] = fma(w, v, acc[r]);
    }
    acc[R - 1] = fma(next, load16(p + R * step), acc[R - 1]);
  }
  for (; k < count; k++) {
    const F32x16 w = load16(weight + k * 16);
    const float* p = x + (offset[k] - offset[0]) * 16;
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) acc[r] = fma(w, load16(p + r * step), acc[r]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) epilogue(acc[r], row + r, channel, lanes);
}

// Computes output rows [begin, begin + rows) of one group from its buffered rows.
template <class Epilogue>
void filter_group(const float* x, const float* weight, const Taps& taps, int64_t begin, int64_t rows, int64_t channel,
                  int lanes, const Epilogue& epilogue) {
  constexpr int R = kRowsTogether;
  const int64_t step = taps.stride * 16;
  int64_t r = 0;
  if (lanes == 16 && taps.stride == 1)
    for (; r + R <= rows; r += R) filter_rows<R>(x + r * 16, 16, weight, taps, begin + r, channel, 16, epilogue);
  for (; r < rows; r++) filter_rows<1>(x + r * step, step, weight, taps, begin + r, channel, lanes, epilogue);
}

// Calls epilogue(acc, row, channel, lanes) for every output row and group of 16 channels; the last group may be
// smaller.
template <class T, class W, class Epilogue>
void depthwise(Cpu& cpu, const TimeRows<T>& x, const W* weight, const Taps& taps, int64_t out_rows,
               const Epilogue& epilogue) {
  const int64_t count = taps.count(), strip_channels = kStripGroups * 16;
  const int64_t tile_rows = std::min(out_rows, kDepthwiseRows), tiles = divide_up(out_rows, kDepthwiseRows);
  const int64_t strips = divide_up(int64_t{x.channels}, strip_channels);
  const int64_t strip_taps = std::max<int64_t>(tile_rows * (count + 4) * strip_channels, 1);
  const int64_t block = std::max<int64_t>(1, kItemTaps / strip_taps), blocks = divide_up(strips, block);
  const int64_t max_buffered = (tile_rows - 1) * taps.stride + taps.span();

  auto run_strip = [&](int64_t begin, int64_t rows, int64_t channel, float* weights) {
    const int64_t buffered = (rows - 1) * taps.stride + taps.span();
    const int64_t groups = std::min(kStripGroups, divide_up(x.channels - channel, 16));
    float* buffer = weights + count * 16;
    gather_rows(x, begin * taps.stride + taps.offsets[0], buffered, channel, groups, buffer);
    for (int64_t g = 0; g < groups; g++, channel += 16) {
      const int lanes = static_cast<int>(std::min<int64_t>(16, x.channels - channel));
      transpose_taps(weight + channel * count, count, lanes, weights);
      filter_group(buffer + g * buffered * 16, weights, taps, begin, rows, channel, lanes, epilogue);
    }
  };
  cpu.parallel_for(tiles * blocks, [&](int64_t item, int worker) {
    float* scratch = cpu.scratch(worker, static_cast<size_t>(count + kStripGroups * max_buffered) * 16);
    const int64_t begin = item / blocks * kDepthwiseRows, first = item % blocks * block;
    for (int64_t strip = first; strip < std::min(strips, first + block); strip++)
      run_strip(begin, std::min(kDepthwiseRows, out_rows - begin), strip * strip_channels, scratch);
  });
}

}  // namespace caracal::CARACAL_ISA

#pragma once
// acc[t, c] = Σ_k weight[c, k] · x[t · stride + offset[k], c], the taps in order of k: FSMN memories and depthwise
// convolutions. One work item is a tile of time and channels; its input is first copied, widened, into a small buffer
// where the zero rows and the state's rows are in place. (Channel counts are often powers of two, so that reading the
// taps from the tensor itself would fight over a few cache sets.)
#include <algorithm>

#include "ops/audio/time_rows.h"

namespace caracal::CARACAL_ISA {

struct Taps {
  std::vector<int64_t> offsets;  // ascending
  int64_t stride = 1;
  int64_t span() const { return offsets.back() - offsets.front() + 1; }
};

inline constexpr int64_t kTileFrames = 64;
inline constexpr int64_t kStripGroups = 4;  // least groups of 16 channels in one item: neighbouring cache lines

// Weights of one group of channels as [K][16].
template <class W>
void transpose_taps(const W* weight, int64_t taps, int64_t lanes, float* out) {
  for (int64_t k = 0; k < taps; k++)
    for (int64_t lane = 0; lane < 16; lane++)
      out[k * 16 + lane] = lane < lanes ? to_float(weight[lane * taps + k]) : 0.f;
}

// `rows` output rows that begin at buffer + offset: R at a time share a tap's weights.
template <int R, class Emit>
CARACAL_INLINE void accumulate_rows(const float* buffer, const float* weight, const Taps& taps, int64_t row, Emit&& emit) {
  F32x16 acc[R];
  for (int r = 0; r < R; r++) acc[r] = zero();
  const float* first = buffer + row * taps.stride * 16;
  const int64_t count = static_cast<int64_t>(taps.offsets.size());
  for (int64_t k = 0; k < count; k++) {
    const F32x16 w = load16(weight + k * 16);
    const float* p = first + (taps.offsets[k] - taps.offsets[0]) * 16;
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) acc[r] = fma(w, load16(p + r * taps.stride * 16), acc[r]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) emit(row + r, acc[r]);
}

// Calls emit(row, channel, lanes, acc) for every output row and every group of 16 channels (the last may have fewer).
template <class T, class W, class Emit>
void depthwise(Cpu& cpu, const TimeRows<T>& x, const W* weight, const Taps& taps, int64_t out_rows, Emit&& emit) {
  const int64_t count = static_cast<int64_t>(taps.offsets.size());
  const int64_t groups = (x.channels + 15) / 16;
  const int64_t tiles = (out_rows + kTileFrames - 1) / kTileFrames;
  // Small work stays on one thread: waking another costs some microseconds.
  const int64_t work_per_group = std::min(out_rows, kTileFrames) * (count + 2) * 16;
  const int64_t strip = std::max<int64_t>(kStripGroups, 65536 / std::max<int64_t>(work_per_group, 1));
  const int64_t strips = (groups + strip - 1) / strip;
  const int64_t buffer_rows = (std::min(out_rows, kTileFrames) - 1) * taps.stride + taps.span();

  auto group_of_tile = [&](int64_t tile, int64_t group, float* scratch) {
    const int64_t channel = group * 16;
    const int lanes = static_cast<int>(std::min<int64_t>(16, x.channels - channel));
    const int64_t begin = tile * kTileFrames, rows = std::min(kTileFrames, out_rows - begin);
    float* buffer = scratch + count * 16;
    transpose_taps(weight + channel * count, count, lanes, scratch);
    for (int64_t r = 0; r < (rows - 1) * taps.stride + taps.span(); r++) {
      const T* p = x.at(begin * taps.stride + taps.offsets[0] + r);
      store16(buffer + r * 16, !p ? zero() : lanes == 16 ? load16(p + channel) : load_partial(p + channel, lanes));
    }
    auto emit_row = [&](int64_t row, F32x16 acc) { emit(begin + row, channel, lanes, acc); };
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) accumulate_rows<4>(buffer, scratch, taps, row, emit_row);
    for (; row < rows; row++) accumulate_rows<1>(buffer, scratch, taps, row, emit_row);
  };
  cpu.parallel_for(tiles * strips, [&](int64_t item, int worker) {
    float* scratch = cpu.scratch(worker, static_cast<size_t>(buffer_rows + count) * 16);
    const int64_t first = item % strips * strip;
    for (int64_t group = first; group < std::min(groups, first + strip); group++)
      group_of_tile(item / strips, group, scratch);
  });
}

}  // namespace caracal::CARACAL_ISA

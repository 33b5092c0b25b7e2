#pragma once
// How the passes of resizeBicubic are shared out among blocks: pure functions of sizes.
#include <algorithm>
#include <cstdint>

#include "core/math.h"
#include "ops/image/resize_bicubic.kernels.h"

namespace caracal::cuda {

struct AcrossPlan {
  AcrossTiles tiles;
  size_t shared_bytes;  // 0: the weights and pixels of a single output do not fit
};

// The horizontal pass from `columns` to `width` pixels of up to max_taps weights each. A block takes as many outputs as
// fit, with a stage for each warp.
inline AcrossPlan across_plan(int64_t rows, int64_t columns, int64_t channels, int width, int max_taps) {
  constexpr double kMaxBytes = 40 << 10;
  constexpr int kMaxOutputs = 128, kRowsPerWarp = 8;
  const double scale = double(columns) / width;
  auto row_bytes = [&](int outputs) {
    return std::min((outputs - 1) * scale + max_taps + 2, double(columns)) * double(channels);
  };
  auto table_bytes = [&](int outputs) { return AcrossTiles::table_bytes(outputs, max_taps); };
  int outputs = kMaxOutputs;
  while (outputs > 0 && kAcrossWarps * (row_bytes(outputs) + 32) + table_bytes(outputs) > kMaxBytes) outputs /= 2;
  const bool staged = outputs > 0;
  if (!staged) outputs = kMaxOutputs;
  const AcrossTiles tiles{.rows = rows,
                          .columns = int(columns),
                          .channels = int(channels),
                          .outputs = outputs,
                          .tiles = divide_up(width, outputs),
                          .rows_per_block = kRowsPerWarp * kAcrossWarps,
                          .stage_bytes = staged ? (int(row_bytes(outputs)) + 31) / 16 * 16 : 0};
  return {tiles, staged ? tiles.stages_bytes() + table_bytes(outputs) : 0};
}

struct DownPlan {
  int unit;    // bytes that a thread moves at once
  int strips;  // blocks per row
  unsigned blocks;
};

// The vertical pass to `height` rows of `bytes` bytes.
inline DownPlan down_plan(int64_t bytes, int64_t height, const void* from, const void* to) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to) | uintptr_t(bytes);
  const int unit = bits % 16 == 0 ? 16 : bits % 4 == 0 ? 4 : 1;
  const int strips = int(divide_up(bytes, unit * kDownThreads));
  return {unit, strips, unsigned(strips * divide_up(height, kDownRows))};
}

}  // namespace caracal::cuda

#pragma once
// How the FSMN memory with a layer norm is cut into blocks: a pure function of sizes.
#include <algorithm>
#include <cmath>
#include <optional>

#include "core/dtype.h"
#include "ops/audio/fsmn_memory.kernels.h"

namespace caracal::cuda {

struct FsmnTile {
  int64_t rows, columns;  // of the output
  size_t shared_bytes;
};

// A block reads all C columns of its rows and of the rows that its taps reach, and the taps of its own columns. With
// one block per multiprocessor, total traffic is least for rows = sqrt(rows · taps / multiprocessors). A stream's few
// rows stay in one block, which then advances its columns of the state by itself. Empty if even one row of 64 columns
// does not fit into shared memory.
inline std::optional<FsmnTile> fsmn_tile(int64_t rows, int64_t channels, int64_t taps, int64_t span, bool stream,
                                         DType dtype, int sms, size_t max_shared) {
  constexpr int64_t kStrip = 64, kFewRows = 16;
  rows = std::max<int64_t>(rows, 1);
  const int64_t best = std::lround(std::sqrt(double(rows) * double(taps) / sms));
  int64_t tile_rows = std::clamp<int64_t>(stream && rows <= kFewRows ? rows : best, 1, rows);
  for (; tile_rows > 0; tile_rows /= 2) {
    const int64_t blocks_y = std::clamp<int64_t>(sms / divide_up(rows, tile_rows), 1, divide_up(channels, kStrip));
    const double row_bytes = (double(tile_rows) + double(span)) * double(channels) * double(dtype_bytes(dtype));
    const int64_t column_bytes = tap_pitch(taps) * int64_t(sizeof(float));
    const double fitting_strips = (double(max_shared) - row_bytes) / double(column_bytes * kStrip);
    if (fitting_strips < 1) continue;
    const int64_t strips = std::min(divide_up(divide_up(channels, blocks_y), kStrip), int64_t(fitting_strips));
    return FsmnTile{tile_rows, strips * kStrip, size_t(strips * kStrip * column_bytes) + size_t(row_bytes)};
  }
  return std::nullopt;
}

}  // namespace caracal::cuda

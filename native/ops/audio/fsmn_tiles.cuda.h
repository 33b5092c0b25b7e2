#pragma once
// What a block of the FSMN memory with a layer norm makes: a function of sizes.
#include <algorithm>
#include <cmath>

#include "core/dtype.h"

namespace caracal::cuda {

struct FsmnTile {
  int64_t rows, columns;  // of the output; 0 where nothing has room
  size_t shared_bytes;
};

// A block reads all C columns of its rows and of those that its taps reach, and the taps of its own columns. With as many
// blocks as multiprocessors that is least in all for rows = sqrt(rows · taps / multiprocessors). Few rows of a stream are
// one block's: it then moves on its columns of the state by itself.
inline FsmnTile fsmn_tile(int64_t rows, int64_t channels, int64_t taps, int64_t span, bool stream, DType dtype, int sms,
                          size_t most_shared) {
  constexpr int64_t kStrip = 64, kFewRows = 16;
  const auto up = [](int64_t n, int64_t by) { return (n + by - 1) / by; };
  rows = std::max<int64_t>(rows, 1);
  const int64_t best = std::lround(std::sqrt(double(rows) * double(taps) / sms));
  int64_t tile_rows = stream && rows <= kFewRows ? rows : best;
  tile_rows = std::clamp<int64_t>(tile_rows, 1, rows);
  for (; tile_rows > 0; tile_rows /= 2) {
    const int64_t strips = std::clamp<int64_t>(sms / up(rows, tile_rows), 1, up(channels, kStrip));
    const double row_bytes = (double(tile_rows) + double(span)) * double(channels) * double(dtype_bytes(dtype));
    const int64_t column_bytes = (taps | 1) * int64_t(sizeof(float));
    const double room = (double(most_shared) - row_bytes) / double(column_bytes * kStrip);
    if (room < 1) continue;
    const int64_t columns = std::min(up(up(channels, strips), kStrip), int64_t(room)) * kStrip;
    return {tile_rows, columns, static_cast<size_t>(columns * column_bytes) + static_cast<size_t>(row_bytes)};
  }
  return {};
}

}  // namespace caracal::cuda

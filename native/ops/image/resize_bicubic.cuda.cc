#include "ops/image/resize_bicubic.h"

#include "cuda/implement.h"
#include "ops/image/bicubic.h"
#include "ops/image/resize_bicubic.kernels.h"

namespace caracal::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kWarps = kThreads / 32;

unsigned blocks(int64_t n, int64_t each) { return static_cast<unsigned>((n + each - 1) / each); }

struct Tables {
  Tables(Cuda& cuda, int64_t in, int64_t out)
      : memory(cuda, static_cast<size_t>((2 + most_taps(in, out)) * out)),
        tables{memory.data(), memory.data() + out, memory.data() + 2 * out, static_cast<int>(out),
               static_cast<int>(most_taps(in, out))} {
    cuda.launch(entry_of(kResizeTaps), {{blocks(out, 64)}, 64}, tables, in);
  }
  const Cuda::Temporary<int> memory;
  const ResizeTables tables;
};

struct AcrossPlan {
  AcrossTiles tiles;
  size_t shared_bytes;  // 0: not even one output's weights and pixels have room
};

// As many outputs to a block as have room, with what they read of a row for each warp.
AcrossPlan across_plan(int64_t rows, int64_t columns, int64_t channels, const ResizeTables& t) {
  constexpr double kRoom = 40 << 10;
  constexpr int kMostOutputs = 128, kRowsPerWarp = 8;
  const double scale = static_cast<double>(columns) / t.out;
  auto row_bytes = [&](int outputs) {
    return std::min((outputs - 1) * scale + t.most + 2, static_cast<double>(columns)) * static_cast<double>(channels);
  };
  auto table_bytes = [&](int outputs) { return sizeof(int) * (2 + t.most) * outputs; };
  int outputs = kMostOutputs;
  while (outputs > 0 && kWarps * (row_bytes(outputs) + 32) + table_bytes(outputs) > kRoom) outputs /= 2;
  const bool staged = outputs > 0;
  if (!staged) outputs = kMostOutputs;
  const int row_room = staged ? (static_cast<int>(row_bytes(outputs)) + 31) / 16 * 16 : 0;
  return {{rows, static_cast<int>(columns), static_cast<int>(channels), outputs, (t.out + outputs - 1) / outputs,
           kRowsPerWarp * kWarps, row_room},
          staged ? size_t{kWarps} * row_room + table_bytes(outputs) : 0};
}

void resize_across(Cuda& cuda, const uint8_t* from, uint8_t* to, int64_t rows, int64_t columns, int64_t channels,
                   int64_t width) {
  const Tables made(cuda, columns, width);
  const auto [tiles, shared_bytes] = across_plan(rows, columns, channels, made.tables);
  cuda.launch(shared_bytes > 0 ? entry_of(kResizeAcross) : entry_of(kResizeAcross, "far"),
              {{blocks(rows, tiles.rows_per_block) * tiles.tiles}, kThreads, shared_bytes}, from, to, made.tables,
              tiles);
}

void resize_down(Cuda& cuda, const uint8_t* from, uint8_t* to, int64_t rows, int64_t bytes, int64_t height) {
  constexpr unsigned kDownThreads = 128;
  const Tables made(cuda, rows, height);
  const uintptr_t all = reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to) | bytes;
  const int64_t unit = all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : 1;
  const unsigned strips = blocks(bytes, unit * kDownThreads);
  cuda.launch(entry_of(kResizeDown, "b" + std::to_string(unit)), {{strips * blocks(height, kDownRows)}, kDownThreads},
              from, to, made.tables, bytes, int(strips));
}

}  // namespace

void run(const ResizeBicubic& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.image.shape[0], columns = op.image.shape[1], channels = op.image.shape[2];
  const int64_t bytes = op.width * channels;
  // As on the CPU: a pass that changes nothing is left out.
  const bool narrow = op.width != columns, flatten = op.height != rows;
  const uint8_t* const image = op.image.data<uint8_t>();
  uint8_t* const result = out[0].data<uint8_t>();
  const Cuda::Temporary<uint8_t> between(cuda, narrow && flatten ? rows * bytes : 0);
  uint8_t* const horizontal = flatten ? between.data() : result;
  if (narrow) resize_across(cuda, image, horizontal, rows, columns, channels, op.width);
  if (flatten) resize_down(cuda, narrow ? horizontal : image, result, rows, bytes, op.height);
  if (!narrow && !flatten) cuda.copy(result, image, out[0].bytes());
}

}  // namespace caracal::cuda

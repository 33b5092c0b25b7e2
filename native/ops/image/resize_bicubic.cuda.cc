#include "ops/image/resize_bicubic.h"

#include "cuda/implement.h"
#include "ops/image/bicubic.h"
#include "ops/image/resize_bicubic.cuda.h"

namespace caracal::cuda {
namespace {

struct Tables {
  Tables(Cuda& cuda, int64_t in, int64_t out)
      : memory(cuda, size_t((2 + max_taps(in, out)) * out)),
        tables{memory.data(), memory.data() + out, memory.data() + 2 * out, int(out), int(max_taps(in, out))} {
    constexpr int kThreads = 64;
    cuda.launch(entry_of(kResizeTaps), {{unsigned(divide_up(out, kThreads))}, kThreads}, tables, in);
  }
  const Temporary<int> memory;
  const ResizeTables tables;
};

void resize_across(Cuda& cuda, const uint8_t* from, uint8_t* to, int64_t rows, int64_t columns, int64_t channels,
                   int64_t width) {
  const Tables made(cuda, columns, width);
  const auto [tiles, shared_bytes] = across_plan(rows, columns, channels, made.tables.out, made.tables.max_taps);
  const Grid grid{unsigned(divide_up(rows, tiles.rows_per_block) * tiles.tiles)};
  cuda.launch(shared_bytes > 0 ? entry_of(kResizeAcross) : entry_of(kResizeAcross, "far"),
              {grid, kAcrossThreads, shared_bytes}, from, to, made.tables, tiles);
}

void resize_down(Cuda& cuda, const uint8_t* from, uint8_t* to, int64_t rows, int64_t bytes, int64_t height) {
  const Tables made(cuda, rows, height);
  const DownPlan plan = down_plan(bytes, height, from, to);
  cuda.launch(entry_of(kResizeDown, "b" + std::to_string(plan.unit)), {{plan.blocks}, kDownThreads}, from, to,
              made.tables, bytes, plan.strips);
}

}  // namespace

void run(const ResizeBicubic& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.image.shape[0], columns = op.image.shape[1], channels = op.image.shape[2];
  const int64_t bytes = op.width * channels;
  // As on the CPU, a pass that would change nothing is skipped.
  const bool horizontal = op.width != columns, vertical = op.height != rows;
  const uint8_t* const image = op.image.data<uint8_t>();
  uint8_t* const result = out[0].data<uint8_t>();
  const Temporary<uint8_t> buffer(cuda, horizontal && vertical ? rows * bytes : 0);
  uint8_t* const intermediate = vertical ? buffer.data() : result;
  if (horizontal) resize_across(cuda, image, intermediate, rows, columns, channels, op.width);
  if (vertical) resize_down(cuda, horizontal ? intermediate : image, result, rows, bytes, op.height);
  if (!horizontal && !vertical) cuda.copy(result, image, out[0].bytes());
}

}  // namespace caracal::cuda

#include "ops/image/resize_bicubic.h"

#include <vector>

#include "cpu/implement.h"
#include "ops/image/bicubic.h"

namespace caracal::CARACAL_ISA {
namespace {

// Output i is the sum over k of weight(i)[k] * input[first[i] + k], k < count[i].
struct Table {
  int64_t max_taps;  // weights reserved per output
  std::vector<int32_t> first, count, weights;
  const int32_t* weight(int64_t i) const { return weights.data() + i * max_taps; }
};

Table make_table(int64_t in, int64_t out) {
  Table table{max_taps(in, out), {}, {}, {}};
  table.first.resize(out);
  table.count.resize(out);
  table.weights.resize(out * table.max_taps);
  for (int64_t i = 0; i < out; i++) {
    const Taps<double> taps(i, in, out);
    const double total = taps.total();
    for (int64_t k = 0; k < taps.count; k++)
      table.weights[i * table.max_taps + k] = Taps<double>::fixed_point(taps.weight(k), total);
    table.first[i] = static_cast<int32_t>(taps.first);
    table.count[i] = static_cast<int32_t>(taps.count);
  }
  return table;
}

void resize_row(const uint8_t* x, uint8_t* y, const Table& taps, int64_t width, int64_t channels) {
  for (int64_t i = 0; i < width; i++) {
    const int32_t* w = taps.weight(i);
    const uint8_t* from = x + taps.first[i] * channels;
    for (int64_t c = 0; c < channels; c++) {
      int32_t sum = kHalf;
      for (int32_t k = 0; k < taps.count[i]; k++) sum += from[k * channels + c] * w[k];
      y[i * channels + c] = clip_pixel(sum);
    }
  }
}

// Computes one output row as a weighted sum of input rows, in strips whose sums stay in the L1 cache.
void blend_rows(const uint8_t* x, uint8_t* y, const Table& taps, int64_t i, int64_t bytes) {
  constexpr int64_t strip = 1024;
  const int32_t* w = taps.weight(i);
  for (int64_t start = 0; start < bytes; start += strip) {
    const int64_t n = bytes - start < strip ? bytes - start : strip;
    int32_t sum[strip];
    for (int64_t j = 0; j < n; j++) sum[j] = kHalf;
    for (int32_t k = 0; k < taps.count[i]; k++) {
      const uint8_t* from = x + (taps.first[i] + k) * bytes + start;
      for (int64_t j = 0; j < n; j++) sum[j] += from[j] * w[k];
    }
    for (int64_t j = 0; j < n; j++) y[i * bytes + start + j] = clip_pixel(sum[j]);
  }
}

}  // namespace

void run(const ResizeBicubic& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t rows = op.image.shape[0], columns = op.image.shape[1], channels = op.image.shape[2];
  const int64_t bytes = op.width * channels;
  // A pass that would change nothing is skipped; the other then reads the image or writes the result directly.
  const bool horizontal = op.width != columns, vertical = op.height != rows;
  const uint8_t* image = op.image.data<uint8_t>();
  uint8_t* result = out[0].data<uint8_t>();
  const Temporary<uint8_t> buffer(cpu, horizontal && vertical ? rows * bytes : 0);
  uint8_t* intermediate = vertical ? buffer.data() : result;
  if (horizontal) {
    const Table taps = make_table(columns, op.width);
    for_rows(cpu, rows, columns * channels, [&](int64_t row) {
      resize_row(image + row * columns * channels, intermediate + row * bytes, taps, op.width, channels);
    });
  }
  if (vertical) {
    const Table taps = make_table(rows, op.height);
    const uint8_t* from = horizontal ? intermediate : image;
    for_rows(cpu, op.height, bytes, [&](int64_t row) { blend_rows(from, result, taps, row, bytes); });
  }
  if (!horizontal && !vertical) std::copy(image, image + rows * bytes, result);
}

}  // namespace caracal::CARACAL_ISA

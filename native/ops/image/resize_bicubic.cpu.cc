#include "ops/image/resize_bicubic.h"

#include <math.h>

#include <vector>

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;  // pixels have 8 bits, sums overshoot by less than 2

double cubic(double x) {
  constexpr double a = -0.5;
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// Output i is the sum over k of weight(i)[k] * input[first[i] + k], k < count[i].
struct Taps {
  int64_t width;  // weights kept per output
  std::vector<int32_t> first, count, weights;
  const int32_t* weight(int64_t i) const { return weights.data() + i * width; }
};

Taps make_taps(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double stretch = scale < 1 ? 1 : scale;
  const double support = 2 * stretch;
  Taps taps;
  taps.width = static_cast<int64_t>(ceil(support)) * 2 + 1;
  taps.first.resize(out);
  taps.count.resize(out);
  taps.weights.resize(out * taps.width);
  std::vector<double> w(taps.width);
  for (int64_t i = 0; i < out; i++) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const int64_t low = static_cast<int64_t>(center - support + 0.5),
                  high = static_cast<int64_t>(center + support + 0.5);
    const int64_t first = low < 0 ? 0 : low;
    const int64_t count = (high > in ? in : high) - first;
    double total = 0;
    for (int64_t k = 0; k < count; k++)
      total += w[k] = cubic((static_cast<double>(k + first) - center + 0.5) * (1.0 / stretch));
    for (int64_t k = 0; k < count; k++) {
      const double fixed = (total != 0 ? w[k] / total : w[k]) * (1 << kPrecisionBits);
      taps.weights[i * taps.width + k] = static_cast<int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    }
    taps.first[i] = static_cast<int32_t>(first);
    taps.count[i] = static_cast<int32_t>(count);
  }
  return taps;
}

CARACAL_INLINE uint8_t clip(int32_t sum) {
  const int32_t v = sum >> kPrecisionBits;
  return static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
}

constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

void resize_row(const uint8_t* x, uint8_t* y, const Taps& taps, int64_t width, int64_t channels) {
  for (int64_t i = 0; i < width; i++) {
    const int32_t* w = taps.weight(i);
    const uint8_t* from = x + taps.first[i] * channels;
    for (int64_t c = 0; c < channels; c++) {
      int32_t sum = kHalf;
      for (int32_t k = 0; k < taps.count[i]; k++) sum += from[k * channels + c] * w[k];
      y[i * channels + c] = clip(sum);
    }
  }
}

// One output row: the weighted sum of whole input rows, in strips whose sums stay in registers and first-level cache.
void blend_rows(const uint8_t* x, uint8_t* y, const Taps& taps, int64_t i, int64_t bytes) {
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
    for (int64_t j = 0; j < n; j++) y[i * bytes + start + j] = clip(sum[j]);
  }
}

}  // namespace

void run(const ResizeBicubic& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t rows = op.image.shape[0], columns = op.image.shape[1], channels = op.image.shape[2];
  const int64_t bytes = op.width * channels;
  // A pass that changes nothing is left out; then the other reads the image, or writes the result, itself.
  const bool narrow = op.width != columns, flatten = op.height != rows;
  const uint8_t* image = op.image.data<uint8_t>();
  uint8_t* result = out[0].data<uint8_t>();
  const Cpu::Temporary<uint8_t> between(cpu, narrow && flatten ? rows * bytes : 0);
  uint8_t* horizontal = flatten ? between.data() : result;
  if (narrow) {
    const Taps taps = make_taps(columns, op.width);
    for_rows(cpu, rows, columns * channels, [&](int64_t row) {
      resize_row(image + row * columns * channels, horizontal + row * bytes, taps, op.width, channels);
    });
  }
  if (flatten) {
    const Taps taps = make_taps(rows, op.height);
    const uint8_t* from = narrow ? horizontal : image;
    for_rows(cpu, op.height, bytes, [&](int64_t row) { blend_rows(from, result, taps, row, bytes); });
  }
  if (!narrow && !flatten) std::copy(image, image + rows * bytes, result);
}

}  // namespace caracal::CARACAL_ISA

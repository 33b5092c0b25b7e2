#include "ops/audio/fbank.h"

#include <algorithm>

#include "core/math.h"
#include "cpu/implement.h"
#include "cpu/math.h"
#include "ops/audio/fbank_tables.h"

namespace caracal::CARACAL_ISA {
namespace {

constexpr int kLanes = 16;  // one frame per lane: no shuffles, and a frame's bits do not depend on the others

void load_frames(const Fbank& op, int64_t first, int64_t frames, float* samples) {
  for (int lane = 0; lane < kLanes; lane++) {
    const float* wave = op.wave.data<float>() + std::min(first + lane, frames - 1) * op.frame_shift;
    for (int64_t i = 0; i < op.frame_length; i++) samples[i * kLanes + lane] = wave[i];
  }
}

void condition(const Fbank& op, const FbankTables& tables, float* samples) {
  F32x16 mean = zero();
  if (op.remove_dc) {
    for (int64_t i = 0; i < op.frame_length; i++) mean += load16(samples + i * kLanes);
    mean = mean * set1(1.f / static_cast<float>(op.frame_length));
  }
  const F32x16 factor = set1(static_cast<float>(-op.preemphasis));
  F32x16 previous = load16(samples) - mean;
  for (int64_t i = 0; i < op.frame_length; i++) {
    const F32x16 x = load16(samples + i * kLanes) - mean;
    store16(samples + i * kLanes, fma(factor, previous, x) * set1(tables.window[i]));
    previous = x;
  }
  for (int64_t i = op.frame_length; i < op.fft_size; i++) store16(samples + i * kLanes, zero());
}

// In-place decimation in time of n complex values in bit-reversed order. n is half the real length, so a stage of
// `size` uses every (2n / size)-th twiddle of the tables.
void fft(const FbankTables& tables, int64_t n, float* re, float* im) {
  for (int64_t size = 2; size <= n; size *= 2) {
    const int64_t half = size / 2, step = 2 * n / size;
    for (int64_t start = 0; start < n; start += size) {
      for (int64_t k = 0; k < half; k++) {
        const F32x16 c = set1(tables.cosine[k * step]), s = set1(tables.sine[k * step]);
        float *ra = re + (start + k) * kLanes, *ia = im + (start + k) * kLanes;
        float *rb = ra + half * kLanes, *ib = ia + half * kLanes;
        const F32x16 xr = load16(rb), xi = load16(ib);
        const F32x16 br = fma(xi, s, xr * c), bi = fma(-xr, s, xi * c);
        const F32x16 ar = load16(ra), ai = load16(ia);
        store16(ra, ar + br);
        store16(ia, ai + bi);
        store16(rb, ar - br);
        store16(ib, ai - bi);
      }
    }
  }
}

// |X[k]|² of the real sequence whose even and odd samples were the complex input, X = E + e^(-2·pi·i·k/N)·O.
void power(const FbankTables& tables, int64_t n, const float* re, const float* im, float* out) {
  for (int64_t k = 0; k < n; k++) {
    const int64_t mirror = (n - k) % n;
    const F32x16 zr = load16(re + k * kLanes), zi = load16(im + k * kLanes);
    const F32x16 mr = load16(re + mirror * kLanes), mi = load16(im + mirror * kLanes);
    const F32x16 half = set1(0.5f), c = set1(tables.cosine[k]), s = set1(tables.sine[k]);
    const F32x16 even_r = (zr + mr) * half, even_i = (zi - mi) * half;
    const F32x16 odd_r = (zi + mi) * half, odd_i = (mr - zr) * half;
    const F32x16 xr = even_r + fma(odd_i, s, odd_r * c), xi = even_i + fma(-odd_r, s, odd_i * c);
    store16(out + k * kLanes, fma(xr, xr, xi * xi));
  }
}

void log_mel(const FbankTables& tables, const float* power, int64_t frames, int64_t bins, float* out) {
  for (int64_t b = 0; b < bins; b++) {
    const FbankFilter& f = tables.filters[b];
    F32x16 energy = zero();
    for (int32_t k = 0; k < f.bins; k++)
      energy = fma(load16(power + (f.first_bin + k) * kLanes), set1(tables.weights[f.first_weight + k]), energy);
    float lanes[kLanes];
    store16(lanes, log(max(set1(0x1p-23f), energy)));
    for (int64_t t = 0; t < frames; t++) out[t * bins + b] = lanes[t];
  }
}

}  // namespace

void run(const Fbank& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t frames = out[0].shape[0], half = op.fft_size / 2;
  const std::shared_ptr<const FbankTables> shared = fbank_tables(op);
  const FbankTables& tables = *shared;
  cpu.parallel_for(divide_up(frames, kLanes), [&](int64_t item, int worker) {
    float* samples = cpu.scratch(worker, static_cast<size_t>(op.fft_size) * 2 * kLanes);
    float *re = samples + op.fft_size * kLanes, *im = re + half * kLanes;
    load_frames(op, item * kLanes, frames, samples);
    condition(op, tables, samples);
    for (int64_t i = 0; i < half; i++) {
      const int64_t source = tables.bit_reversed[i];
      store16(re + i * kLanes, load16(samples + 2 * source * kLanes));
      store16(im + i * kLanes, load16(samples + (2 * source + 1) * kLanes));
    }
    fft(tables, half, re, im);
    power(tables, half, re, im, samples);
    const int64_t first = item * kLanes;
    log_mel(tables, samples, std::min<int64_t>(kLanes, frames - first), op.mel_bins,
            out[0].data<float>() + first * op.mel_bins);
  });
}

}  // namespace caracal::CARACAL_ISA

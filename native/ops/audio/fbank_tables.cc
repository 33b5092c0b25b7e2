#include "ops/audio/fbank_tables.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>

namespace caracal {
namespace {

constexpr double kPi = std::numbers::pi;

double window_at(Fbank::Window window, double phase) {
  const double hann = 0.5 - 0.5 * std::cos(phase);
  switch (window) {
    case Fbank::Window::povey: return std::pow(hann, 0.85);
    case Fbank::Window::hann: return hann;
    case Fbank::Window::hamming: return 0.54 - 0.46 * std::cos(phase);
  }
  return 0;
}

double mel(double hz) { return 1127.0 * std::log(1.0 + hz / 700.0); }

auto key(const Fbank& f) {
  return std::tuple{f.sample_rate, f.low_hz, f.high_hz, f.frame_length, f.fft_size, f.mel_bins, f.window};
}

}  // namespace

FbankTables::FbankTables(const Fbank& config) {
  const int64_t half = config.fft_size / 2;
  for (int64_t i = 0; i < config.frame_length; i++)
    window.push_back(static_cast<float>(window_at(config.window, 2 * kPi * i / (config.frame_length - 1))));
  for (int64_t k = 0; k < half; k++) {
    cosine.push_back(static_cast<float>(std::cos(2 * kPi * k / config.fft_size)));
    sine.push_back(static_cast<float>(std::sin(2 * kPi * k / config.fft_size)));
  }
  bit_reversed.resize(half);
  for (int64_t i = 1; i < half; i++)
    bit_reversed[i] = static_cast<int32_t>(bit_reversed[i / 2] / 2 + (i % 2) * half / 2);

  const double low = mel(config.low_hz), step = (mel(config.top_hz()) - low) / (config.mel_bins + 1);
  for (int64_t b = 0; b < config.mel_bins; b++) {
    const double left = low + b * step, centre = left + step, right = centre + step;
    FbankFilter filter{0, 0, static_cast<int32_t>(weights.size())};
    for (int64_t k = 0; k < half; k++) {  // the Nyquist bin has no weight
      const double m = mel(config.sample_rate * k / config.fft_size);
      const double weight = std::min((m - left) / (centre - left), (right - m) / (right - centre));
      if (weight <= 0) continue;
      if (filter.bins++ == 0) filter.first_bin = static_cast<int32_t>(k);
      weights.push_back(static_cast<float>(weight));
    }
    filters.push_back(filter);
  }
}

std::shared_ptr<const FbankTables> fbank_tables(const Fbank& config) {
  static std::mutex mutex;
  static std::shared_ptr<const FbankTables> tables;
  static decltype(key(config)) tables_key;
  std::lock_guard lock(mutex);
  if (!tables || tables_key != key(config)) {
    tables = std::make_shared<const FbankTables>(config);
    tables_key = key(config);
  }
  return tables;
}

}  // namespace caracal

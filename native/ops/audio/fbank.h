#pragma once
// Log mel filterbank energies, as in Kaldi. Each frame is processed by itself: optional removal of its mean,
// pre-emphasis x[i] - preemphasis·x[i-1] with x[-1] = x[0], window, zero padding to fftSize, power spectrum, triangular
// filters that are linear in mel = 1127·ln(1 + f/700) between lowHz and highHz (an offset from the Nyquist frequency if
// 0 or less), and log(max(E, 2^-23)).
//   wave f32 [N] in 16-bit integer range      output f32 [frames, melBins], frames = (N - frameLength) / frameShift + 1
// Windows are symmetric; povey is hann^0.85.
#include "core/check.h"

namespace caracal {

struct Fbank {
  enum class Window { povey, hann, hamming };
  static constexpr const char* kName = "fbank";
  // Limits on the time that a call takes. The last is above a day of speech in the usual frames.
  static constexpr int64_t kMaxFft = 1 << 16, kMaxMelBins = 1 << 10, kMaxPoints = int64_t{1} << 33;
  Tensor wave;
  double sample_rate = 16000, low_hz = 40, high_hz = -200, preemphasis = 0.97;
  int64_t frame_length = 400, frame_shift = 160, fft_size = 512, mel_bins = 80;
  bool remove_dc = false;
  Window window = Window::povey;
  static constexpr auto kFields = std::tuple{field("wave", &Fbank::wave),
                                             field("sampleRate", &Fbank::sample_rate),
                                             field("lowHz", &Fbank::low_hz),
                                             field("highHz", &Fbank::high_hz),
                                             field("preemphasis", &Fbank::preemphasis),
                                             field("frameLength", &Fbank::frame_length),
                                             field("frameShift", &Fbank::frame_shift),
                                             field("fftSize", &Fbank::fft_size),
                                             field("melBins", &Fbank::mel_bins),
                                             field("removeDc", &Fbank::remove_dc),
                                             field("window", &Fbank::window)};

  double top_hz() const { return high_hz > 0 ? high_hz : sample_rate / 2 + high_hz; }

  Outputs check() const {
    Checker c{kName};
    c.rank(wave, "wave", 1);
    c.dtype(wave, "wave", {DType::f32});
    c.positive(sample_rate, "sampleRate");
    c.finite(preemphasis, "preemphasis");
    c.range(frame_length, "frameLength", 2, kMaxFft);
    c.range(frame_shift, "frameShift", 1, 1 << 20);
    c.range(mel_bins, "melBins", 1, kMaxMelBins);
    if (fft_size < frame_length || fft_size < 4 || (fft_size & (fft_size - 1)) != 0 || fft_size > kMaxFft)
      c.bad(code::kInvalidArgument, "fftSize",
            "must be a power of two in [4, " + std::to_string(kMaxFft) + "] and no less than frameLength " +
                std::to_string(frame_length) + ", got " + std::to_string(fft_size));
    if (!(low_hz >= 0 && low_hz < top_hz() && top_hz() <= sample_rate / 2))
      c.bad(code::kInvalidArgument, "lowHz and highHz",
            "must be a band within [0, sampleRate / 2], got " + std::to_string(low_hz) + " to " +
                std::to_string(top_hz()));
    const int64_t n = wave.shape[0], frames = n < frame_length ? 0 : (n - frame_length) / frame_shift + 1;
    if (frames > kMaxPoints / fft_size)
      c.bad(code::kInvalidArgument, "wave",
            "makes " + std::to_string(frames) + " frames of " + std::to_string(fft_size) +
                " points, which would take minutes: pass it in pieces, as FbankStream does");
    return {{DType::f32, {frames, mel_bins}}};
  }
};

template <>
struct EnumNames<Fbank::Window> {
  static constexpr const char* names[] = {"povey", "hann", "hamming"};
};

}  // namespace caracal

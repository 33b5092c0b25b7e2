#pragma once
#include <cstdint>

#include "core/host_device.h"
#include "cuda/kernel.h"
#include "ops/audio/fbank_filter.h"

namespace caracal {

// Arrays of `half` values are padded so that lanes which read an array's even and odd half at once, or two arrays, use
// different halves of the banks.
inline constexpr int kFbankShift = 16;
constexpr int64_t fbank_array_words(int64_t half) { return half + 2 * kFbankShift; }
// In an array of cosines or sines, even k come first, since the transform needs them side by side. Odd k begin here.
CARACAL_HOST_DEVICE constexpr int fbank_odd_twiddles(int half) { return half / 2 + kFbankShift; }
// The transform alternates between two buffers of complex values.
template <class N>
CARACAL_HOST_DEVICE constexpr N fbank_value_words(N array_words) {
  return 4 * array_words;
}

// The tables come to the GPU as one run of 4-byte words: the window, then the tables at the given words.
struct FbankShape {
  long long frames, frame_shift;
  int frame_length, half;  // half = fftSize / 2, the number of complex values that are transformed
  int array_words;         // of `half` values
  int mel_bins;
  float preemphasis, inverse_length;
  bool remove_dc;
  int cosine, sine, filters, weights, words;
  bool staged;  // shared memory holds the tables
};

inline constexpr int kFbankMaxThreads = 256;

// wave, tables, out, shape
inline constexpr Kernel<const float*, const float*, float*, FbankShape> kFbank{"fbank"};

}  // namespace caracal

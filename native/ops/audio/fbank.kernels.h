#pragma once
#include "core/math.h"
#include "cuda/kernel.h"
#include "ops/audio/fbank_filter.h"

namespace caracal {

// Arrays of `half` values are padded so that lanes which read an array's even and odd half at once, or two arrays, use
// different halves of the banks.
inline constexpr int kFbankShift = 16;
template <class N>
CARACAL_HOST_DEVICE constexpr N fbank_array_words(N half) {
  return half + 2 * kFbankShift;
}
// The place of the cosine or sine of k in its array: even k come first, since the transform needs them side by side.
CARACAL_HOST_DEVICE constexpr int fbank_twiddle(int k, int half) { return k / 2 + k % 2 * (half / 2 + kFbankShift); }
// The transform alternates between two buffers of complex values.
template <class N>
CARACAL_HOST_DEVICE constexpr N fbank_value_words(N half) {
  return 4 * fbank_array_words(half);
}

// The tables come to the GPU as one run of 4-byte words: the window, then the tables at the given words.
struct FbankShape {
  long long frames, frame_shift;
  int frame_length, half;  // half = fftSize / 2, the number of complex values that are transformed
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

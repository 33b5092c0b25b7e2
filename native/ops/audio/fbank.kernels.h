#pragma once
#include "cuda/kernel.h"

namespace caracal {

// One filter's weights stand from first_weight on, for the bins from first_bin on.
struct FbankFilter {
  int first_bin, bins, first_weight;
};

// The tables come to the GPU as one run of 4-byte words. Cosines and sines of 2·pi·k / fftSize are each stored as those
// of even k, then those of odd k: the transform needs the even ones side by side.
struct FbankShape {
  long long frames, frame_shift;
  int frame_length, half;  // fftSize / 2, the complex values that are transformed
  int run;                 // words of `half` values whose even and odd ones stand apart
  int mel_bins;
  float preemphasis, inverse_length;
  bool remove_dc;
  // Where the tables begin, in words: the window is at 0.
  int cosine, sine, filters, weights, words;
  bool staged;  // whether they have room in shared memory
};

// Words by which what even and odd lanes read are apart, besides `half` or its half: half of the banks.
inline constexpr int kFbankShift = 16;

// wave, tables, out, shape
inline constexpr Kernel<const float*, const float*, float*, FbankShape> kFbank{"fbank"};

}  // namespace caracal

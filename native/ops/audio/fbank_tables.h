#pragma once
// The tables of fbank: window, twiddle factors and mel filters, computed in f64.
#include <memory>

#include "ops/audio/fbank.h"
#include "ops/audio/fbank_filter.h"

namespace caracal {

struct FbankTables {
  explicit FbankTables(const Fbank& config);

  std::vector<float> window;          // [frameLength]
  std::vector<float> cosine, sine;    // of 2·pi·k / fftSize for k < fftSize / 2
  std::vector<int32_t> bit_reversed;  // the bit-reversed indices below fftSize / 2
  std::vector<FbankFilter> filters;   // [melBins]
  std::vector<float> weights;         // of all filters, one after another
};

// Caches the tables of the last configuration: a stream requests the same ones a hundred times a second.
std::shared_ptr<const FbankTables> fbank_tables(const Fbank& config);

}  // namespace caracal

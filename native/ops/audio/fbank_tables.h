#pragma once
// What fbank looks up: window, twiddle factors and mel filters, computed in f64.
#include <memory>

#include "ops/audio/fbank.h"

namespace caracal {

struct FbankTables {
  explicit FbankTables(const Fbank& config);

  std::vector<float> window;          // [frameLength]
  std::vector<float> cosine, sine;    // of 2·pi·k / fftSize, k < fftSize / 2
  std::vector<int32_t> bit_reversed;  // of the indices below fftSize / 2
  struct Filter {
    int32_t first_bin, bins, first_weight;
  };
  std::vector<Filter> filters;  // [melBins]
  std::vector<float> weights;   // of all filters, one after another
};

// The tables of the last configuration are kept: a stream asks for the same ones a hundred times a second.
std::shared_ptr<const FbankTables> fbank_tables(const Fbank& config);

}  // namespace caracal

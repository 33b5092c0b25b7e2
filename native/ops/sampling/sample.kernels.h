#pragma once
#include "ops/sampling/candidates.kernels.h"

namespace caracal {

inline constexpr int kSampleThreads = 512;

struct SampleRow {
  float scale;  // of sample_weight.h
  int top_k;    // 0: no cut; 1: the largest logit
  double top_p;
  unsigned long long random;
};

// The rows of one launch, a block for each.
struct SampleRows {
  static constexpr int kMaxRows = 128;
  SampleRow row[kMaxRows];
};

// sample_<dtype>: logits, columns, best candidates [rows][parts], allowed ids, rows, ids, whether vectors of 16 bytes can
// be read
inline constexpr Kernel<const void*, long long, const unsigned long long*, AllowedIds, SampleRows, int*, bool> kSample{
    "sample"};

}  // namespace caracal

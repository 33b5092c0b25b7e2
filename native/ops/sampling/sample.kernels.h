#pragma once
#include "ops/sampling/candidates.kernels.h"

namespace caracal {

inline constexpr int kSampleThreads = 512;

// What a launch of sample is told of its rows.
struct SampleRow {
  float scale;  // weight.h
  int top_k;    // 0: no cut; 1: the largest
  double top_p;
  unsigned long long random;
};

struct SampleRows {
  static constexpr int kMost = 128;
  SampleRow row[kMost];
};

// logits, columns, best candidates [rows][parts], allowed ids, rows, ids, whether 16 bytes of logits at a time can be
// read. sample_<dtype>
inline constexpr Kernel<const void*, long long, const unsigned long long*, AllowedIds, SampleRows, int*, bool> kSample{
    "sample"};

}  // namespace caracal

#pragma once

namespace caracal {

// What a launch of sample is told of its rows. Read by the kernel and by the host.
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

}  // namespace caracal

#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

inline constexpr Kernel<const void*, void*, long long, bool, Fault*> kPackF8e4m3{"pack_weight_f8e4m3"};

// pack_weight_codes_<q4 or q8>: codes, packed codes, number of octets (eight codes), bits of a code
inline constexpr Kernel<const void*, void*, long long, int> kPackCodes{"pack_weight_codes"};

// The scales and biases [n, groups] of a matrix become pairs [groups, columns].
struct PairSources {
  const void* scales;
  const void* biases;  // or null: then they are bias_factor times the scale
  void* pairs;
  long long n, columns, groups;
  float bias_factor;
};
inline constexpr Kernel<PairSources> kPackPairs{"pack_weight_pairs"};  // pack_weight_pairs_<dtype>

}  // namespace caracal

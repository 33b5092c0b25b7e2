#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

// Rows are i32, so there are no more picks than an int holds.
struct Picks {
  const int* ids;
  int count;
  int per_token;
  int experts;
  int known;  // ids below it are an expert's or a zero expert's
};

// picks, picks per chunk, chunks per block, totals [blocks][experts], fault
inline constexpr Kernel<Picks, int, int, int*, Fault*> kPermutationCount{"permutation_count"};
// picks, picks per chunk, chunks per block, counters or null, totals or null, offsets, token_of, slot_of, fault
inline constexpr Kernel<Picks, int, int, int*, const int*, int*, int*, int*, Fault*> kPermutation{"permutation"};

}  // namespace caracal

#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

// Rows are i32, so all counts of picks fit into an int.
struct Picks {
  const int* ids;
  int count;
  int per_token;
  int experts;
  int all_experts;  // with the zero experts: ids must be below
};

// picks, picks per chunk, chunks per block, totals [blocks][experts], fault
inline constexpr Kernel<Picks, int, int, int*, Fault*> kPermutationCount{"permutation_count"};
// picks, picks per chunk, chunks per block, global counters or null, totals or null, offsets, token_of, slot_of, fault
inline constexpr Kernel<Picks, int, int, int*, const int*, int*, int*, int*, Fault*> kPermutation{"permutation"};

inline constexpr int kMaxChunks = 32;  // per block, one for each warp

}  // namespace caracal

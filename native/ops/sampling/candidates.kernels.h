#pragma once
#include "cuda/kernel.h"

namespace caracal {

// What a kernel is told of the ids that may be chosen, and of the parts of a row that warps share out.
struct AllowedIds {
  static constexpr int kMostParts = 256;  // so few that a block can compare the best of all

  long long first, last;  // all are in [first, last)
  int ranges;
  const int* bounds;  // start, end, ... of the ranges; null where there is one
  long long begin;    // where the first part does: at or before `first`, at a whole access
  int parts, ids_per_part;

#ifdef __CUDACC__
  __device__ long long part_begin(int part) const { return begin + static_cast<long long>(part) * ids_per_part; }
  __device__ long long part_end(int part) const {
    const long long end = part_begin(part + 1);
    return end < last ? end : last;
  }
  __device__ bool has(long long id) const {
    if (id < first || id >= last) return false;
    if (bounds == nullptr) return true;
    int low = 0, high = 2 * ranges;  // how many bounds are not above id: an odd number inside a range
    while (low < high) {
      const int middle = (low + high) / 2;
      if (bounds[middle] <= id)
        low = middle + 1;
      else
        high = middle;
    }
    return low % 2 == 1;
  }
  // Bit j tells of id + j, j < n.
  __device__ unsigned of(long long id, int n) const {
    if (bounds == nullptr && id >= first && id + n <= last) return ~0u;
    unsigned may = 0;
#pragma unroll 1
    for (int j = 0; j < n; j++) may |= unsigned{has(id + j)} << j;
    return may;
  }
#endif
};

// Bounds that travel as a kernel's parameter: so a captured graph keeps them.
struct IdBounds {
  static constexpr int kMost = 512;
  int at[kMost];
};

// where to put bounds, how many, bounds
inline constexpr Kernel<int*, int, IdBounds> kPutIdBounds{"put_id_bounds"};
// logits, rows, columns, allowed ids, best candidates [rows][parts], whether 16 bytes of logits at a time can be read.
// best_candidates_<dtype>
inline constexpr Kernel<const void*, long long, long long, AllowedIds, unsigned long long*, bool> kBestCandidates{
    "best_candidates"};

}  // namespace caracal

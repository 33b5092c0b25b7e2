#pragma once
#include "cuda/kernel.h"

namespace caracal {

// The ids that may be chosen, and the parts of a row that warps take.
struct AllowedIds {
  static constexpr int kMaxParts = 256;  // few enough for one block to compare the best of each

  long long first, last;  // every allowed id is in [first, last)
  int ranges;
  const int* bounds;  // start, end, ... of the ranges; null if there is only one
  long long begin;    // of the first part: at most `first`, and aligned for vectors
  int parts, ids_per_part;

#ifdef __CUDACC__
  __device__ long long part_begin(int part) const { return begin + static_cast<long long>(part) * ids_per_part; }
  __device__ long long part_end(int part) const {
    const long long end = part_begin(part + 1);
    return end < last ? end : last;
  }
  __device__ bool contains(long long id) const {
    if (id < first || id >= last) return false;
    if (bounds == nullptr) return true;
    int low = 0, high = 2 * ranges;  // the number of bounds up to id, which is odd inside a range
    while (low < high) {
      const int middle = (low + high) / 2;
      if (bounds[middle] <= id)
        low = middle + 1;
      else
        high = middle;
    }
    return low % 2 == 1;
  }
  // Bit j of n tells whether id + j is allowed.
  __device__ unsigned mask(long long id, int n) const {
    if (bounds == nullptr && id >= first && id + n <= last) return ~0u;
    unsigned bits = 0;
#pragma unroll 1
    for (int j = 0; j < n; j++) bits |= unsigned{contains(id + j)} << j;
    return bits;
  }
#endif
};

// Bounds are passed as a kernel's parameter, so that a captured graph keeps them.
struct IdBounds {
  static constexpr int kMaxBounds = 512;
  int bounds[kMaxBounds];
};

inline constexpr int kBoundsThreads = 256;
// A warp finds the best candidate of each part.
inline constexpr int kCandidateThreads = 256, kCandidateParts = kCandidateThreads / 32;

// put_id_bounds, in one block: where to store bounds, how many, bounds
inline constexpr Kernel<int*, int, IdBounds> kPutIdBounds{"put_id_bounds"};
// best_candidates_<dtype>: logits, rows, columns, allowed ids, best candidates [rows][parts], whether vectors of 16 bytes
// can be read
inline constexpr Kernel<const void*, long long, long long, AllowedIds, unsigned long long*, bool> kBestCandidates{
    "best_candidates"};

}  // namespace caracal

#pragma once
// How rows of logits are shared out among warps, and what kernels are told of it.
#include "cuda/implement.h"
#include "ops/sampling/allowed.h"
#include "ops/sampling/candidates.kernels.h"

namespace caracal::cuda {

// How many ids a warp takes: few enough parts, and no less than an access each.
inline int64_t ids_per_part(int64_t ids) {
  constexpr int64_t kLeast = 128, kMost = kLeast * AllowedIds::kMostParts;
  return (ids + kMost - 1) / kMost * kLeast;
}

// The best candidate of every part of every row, and the ids that were allowed: what argmax and sample begin with.
struct BestCandidates {
  static constexpr int64_t kWidest = 8;  // elements of an access

  BestCandidates(Cuda& cuda, const Tensor& logits, const std::vector<int64_t>& allowed)
      : bounds(cuda, allowed.size() > 2 ? allowed.size() : 0),
        ids(ids_of(logits.shape[1], allowed)),
        best(cuda, static_cast<size_t>(logits.shape[0]) * ids.parts),
        aligned(vector_elements(logits.dtype, logits.shape[1], {address(logits)}) > 1) {
    const int64_t rows = logits.shape[0], parts = rows * ids.parts;
    if (allowed.size() > 2) put_bounds(cuda, allowed);
    constexpr unsigned kThreads = 256;
    cuda.launch(entry_of(kBestCandidates, logits.dtype),
                {{static_cast<unsigned>((parts * 32 + kThreads - 1) / kThreads)}, kThreads}, address(logits), rows,
                logits.shape[1], ids, best.data(), aligned);
  }

  Cuda::Temporary<int> bounds;
  AllowedIds ids;
  Cuda::Temporary<unsigned long long> best;  // [rows][ids.parts]
  bool aligned;

 private:
  AllowedIds ids_of(int64_t columns, const std::vector<int64_t>& allowed) const {
    AllowedIds a{0, columns, 1, bounds.data(), 0, 0, 0};
    if (!allowed.empty()) {
      a.first = allowed.front();
      a.last = allowed.back();
      a.ranges = static_cast<int>(allowed.size() / 2);
    }
    a.begin = a.first / kWidest * kWidest;
    a.ids_per_part = static_cast<int>(ids_per_part(a.last - a.begin));
    a.parts = static_cast<int>((a.last - a.begin + a.ids_per_part - 1) / a.ids_per_part);
    return a;
  }
  void put_bounds(Cuda& cuda, const std::vector<int64_t>& allowed) const {
    for (size_t at = 0; at < allowed.size(); at += IdBounds::kMost) {
      const size_t n = std::min<size_t>(IdBounds::kMost, allowed.size() - at);
      IdBounds some{};
      std::copy_n(allowed.begin() + at, n, some.at);
      cuda.launch(entry_of(kPutIdBounds), {{}, 256}, bounds.data() + at, static_cast<int>(n), some);
    }
  }
};

}  // namespace caracal::cuda

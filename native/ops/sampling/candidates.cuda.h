#pragma once
// How rows of logits are divided among warps.
#include "core/math.h"
#include "cuda/implement.h"
#include "ops/sampling/candidates.kernels.h"

namespace caracal::cuda {

// The parts of a row of `columns` logits, a pure function of sizes. A part has at least 128 ids, and a row at most
// kMaxParts parts. `bounds` is the device's copy of `allowed`.
inline AllowedIds allowed_ids(int64_t columns, const std::vector<int64_t>& allowed, const int* bounds) {
  constexpr int64_t kVectorIds = 8;  // of the widest vector, bf16
  constexpr int64_t kMinIds = 128;
  AllowedIds ids{.first = 0, .last = columns, .ranges = 1, .bounds = bounds, .begin = 0, .parts = 0, .ids_per_part = 0};
  if (!allowed.empty()) {
    ids.first = allowed.front();
    ids.last = allowed.back();
    ids.ranges = int(allowed.size() / 2);
  }
  ids.begin = ids.first / kVectorIds * kVectorIds;
  ids.ids_per_part = int(divide_up(ids.last - ids.begin, kMinIds * AllowedIds::kMaxParts) * kMinIds);
  ids.parts = int(divide_up(ids.last - ids.begin, ids.ids_per_part));
  return ids;
}

// The best candidate of every part of every row, with which argmax and sample start.
struct BestCandidates {
  BestCandidates(Cuda& cuda, const Tensor& logits, const std::vector<int64_t>& allowed)
      : bounds(cuda, allowed.size() > 2 ? allowed.size() : 0),
        ids(allowed_ids(logits.shape[1], allowed, bounds.data())),
        best(cuda, size_t(logits.shape[0]) * ids.parts),
        aligned(vector_elements(logits.dtype, logits.shape[1], {address(logits)}) > 1) {
    const int64_t rows = logits.shape[0];
    if (allowed.size() > 2) put_bounds(cuda, allowed);
    cuda.launch(entry_of(kBestCandidates, logits.dtype),
                {{unsigned(divide_up(rows * ids.parts, kCandidateParts))}, kCandidateThreads}, address(logits), rows,
                logits.shape[1], ids, best.data(), aligned);
  }

  Temporary<int> bounds;
  AllowedIds ids;
  Temporary<unsigned long long> best;  // [rows][ids.parts]
  bool aligned;

 private:
  void put_bounds(Cuda& cuda, const std::vector<int64_t>& allowed) const {
    for (size_t first = 0; first < allowed.size(); first += IdBounds::kMaxBounds) {
      const size_t n = std::min<size_t>(IdBounds::kMaxBounds, allowed.size() - first);
      IdBounds chunk{};
      std::copy_n(allowed.begin() + first, n, chunk.bounds);
      cuda.launch(entry_of(kPutIdBounds), {{}, kBoundsThreads}, bounds.data() + first, int(n), chunk);
    }
  }
};

}  // namespace caracal::cuda

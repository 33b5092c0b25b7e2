#include "ops/moe/permutation.h"

#include "cuda/implement.h"
#include "ops/moe/picks.h"

namespace caracal::cuda {
namespace {

// How many picks a warp takes, and how many warps there are.
struct Chunks {
  int chunk, count;
  bool one_block;       // the counters of all have room in the shared memory of one block
  size_t shared_bytes;  // of a block; 0 where the counters of one chunk have no room
};
Chunks chunks_of(int64_t picks, int64_t experts) {
  constexpr int64_t kMostShared = 48 << 10, kFew = 128, kMany = 1024;
  const int64_t each = experts * 4, most = std::min<int64_t>(kMostShared / each, 32);
  const auto count = [picks](int64_t chunk) { return (picks + chunk - 1) / chunk; };
  if (picks > most * kMany || most == 0) return {int(kMany), int(count(kMany)), false, most > 0 ? size_t(each) : 0};
  const int64_t chunk = std::max<int64_t>((picks + most * 32 - 1) / (most * 32) * 32, kFew);
  const int64_t chunks = std::max<int64_t>(count(chunk), 1);
  return {int(chunk), int(chunks), true, size_t(chunks * each)};
}

}  // namespace

void run(const Permutation& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t k = op.ids.shape[1], known = op.experts + op.zeroExperts;
  const Picks picks{op.ids.data<int>(), int(op.ids.shape.elements()), int(k), int(op.experts), int(known)};
  Fault* fault = cuda.fault([k, known](const Fault& f) {
    return Error(code::kIndexOutOfRange, "permutation: ids[" + std::to_string(f.position / k) + "][" +
                                             std::to_string(f.position % k) + "] is " + std::to_string(f.value) +
                                             ", outside [-1, " + std::to_string(known) + ")");
  });
  int *offsets = out[0].data<int>(), *token_of = out[1].data<int>(), *slot_of = out[2].data<int>();
  const Chunks chunks = chunks_of(picks.count, op.experts);
  if (chunks.one_block) {
    cuda.launch({"moe", "permutation_block"}, {1}, std::max(32 * chunks.count, 256), chunks.shared_bytes, picks,
                chunks.chunk, chunks.count, offsets, token_of, slot_of, fault);
    return;
  }
  const Cuda::Temporary<int> counters(cuda, size_t(chunks.count * op.experts));
  const bool shared = chunks.shared_bytes > 0;
  const Grid grid{unsigned(chunks.count)};
  cuda.launch({"moe", "permutation_count"}, grid, 32, chunks.shared_bytes, picks, chunks.chunk, counters.data(), shared,
              fault);
  cuda.launch({"moe", "permutation_scan"}, {1}, 1024, 0, counters.data(), chunks.count, int(op.experts), offsets);
  cuda.launch({"moe", "permutation_scatter"}, grid, 32, chunks.shared_bytes, picks, chunks.chunk, counters.data(),
              shared, static_cast<const int*>(offsets), token_of, slot_of);
}

}  // namespace caracal::cuda

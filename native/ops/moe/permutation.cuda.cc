#include "ops/moe/permutation.h"

#include "cuda/implement.h"
#include "ops/moe/permutation.kernels.h"

namespace caracal::cuda {
namespace {

// How many picks a warp takes, how many warps of a block do, and how many blocks there are.
struct Chunks {
  int chunk, count;
  unsigned blocks;
  size_t shared_bytes;  // of a block's counters; 0 where there is no room for one warp's
};
Chunks chunks_of(int64_t picks, int64_t experts, int sms) {
  constexpr int64_t kMostShared = 48 << 10, kFew = 128, kMany = 512;
  const auto parts = [](int64_t n, int64_t of) { return std::max<int64_t>((n + of - 1) / of, 1); };
  const int64_t each = experts * 4, most = std::min<int64_t>(kMostShared / each, 32);
  if (most == 0) return {int(parts(picks, 32) * 32), 1, 1, 0};
  const int64_t blocks = picks <= most * kMany ? 1 : std::min<int64_t>(parts(picks, most * kFew), sms);
  const int64_t chunk = std::max(parts(picks, blocks * most * 32) * 32, kFew);
  const int64_t count = std::min(most, parts(picks, chunk));
  return {int(chunk), int(count), unsigned(parts(picks, chunk * count)), size_t(count * each)};
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
  const Chunks chunks = chunks_of(picks.count, op.experts, cuda.gpu.sms);
  const unsigned threads = std::max(32 * chunks.count, 256);
  const Cuda::Temporary<int> far(cuda, chunks.shared_bytes == 0 ? op.experts : 0);
  const Cuda::Temporary<int> totals(cuda, chunks.blocks > 1 ? chunks.blocks * op.experts : 0);
  if (totals.data() != nullptr)
    cuda.launch(entry_of(kPermutationCount), {{chunks.blocks}, threads, size_t(op.experts * 4)}, picks, chunks.chunk,
                chunks.count, totals.data(), fault);
  cuda.launch(entry_of(kPermutation), {{chunks.blocks}, threads, chunks.shared_bytes}, picks, chunks.chunk,
              chunks.count, far.data(), totals.data(), offsets, token_of, slot_of, fault);
}

}  // namespace caracal::cuda

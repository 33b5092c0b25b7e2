#include "ops/moe/permutation.h"

#include "cuda/implement.h"
#include "ops/moe/permutation_chunks.cuda.h"

namespace caracal::cuda {

void run(const Permutation& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t k = op.ids.shape[1], all_experts = op.experts + op.zero_experts;
  const Picks picks{op.ids.data<int>(), int(op.ids.shape.elements()), int(k), int(op.experts), int(all_experts)};
  Fault* fault = cuda.fault(
      [k, all_experts](const Fault& f) { return Permutation::id_error(f.position, k, f.value, all_experts); });
  int *offsets = out[0].data<int>(), *token_of = out[1].data<int>(), *slot_of = out[2].data<int>();
  const PermutationChunks chunks = permutation_chunks(picks.count, op.experts, cuda.gpu.sms);
  const unsigned threads = std::max(32 * chunks.per_block, 256);  // the extra warps help with the scan
  const Temporary<int> global_counters(cuda, chunks.counter_bytes == 0 ? op.experts : 0);
  const Temporary<int> totals(cuda, chunks.blocks > 1 ? chunks.blocks * op.experts : 0);
  if (totals.data() != nullptr)
    cuda.launch(entry_of(kPermutationCount), {{chunks.blocks}, threads, size_t(op.experts) * sizeof(int)}, picks,
                chunks.picks, chunks.per_block, totals.data(), fault);
  cuda.launch(entry_of(kPermutation), {{chunks.blocks}, threads, chunks.counter_bytes}, picks, chunks.picks,
              chunks.per_block, global_counters.data(), totals.data(), offsets, token_of, slot_of, fault);
}

}  // namespace caracal::cuda

#include "ops/moe/permutation.h"

#include <algorithm>
#include <vector>

#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {

// A counting sort on one thread: the T*K ids are few compared with the GEMMs they prepare.
void run(const Permutation& op, std::span<Tensor> out, Cpu&) {
  const int64_t picks = op.ids.shape.elements(), k = op.ids.shape[1], all_experts = op.experts + op.zero_experts;
  const int32_t* ids = op.ids.data<int32_t>();
  int32_t* offsets = out[0].data<int32_t>();
  int32_t* token_of = out[1].data<int32_t>();
  int32_t* slot_of = out[2].data<int32_t>();
  std::fill_n(offsets, op.experts + 1, 0);
  for (int64_t i = 0; i < picks; i++) {
    if (ids[i] < -1 || ids[i] >= all_experts) throw Permutation::id_error(i, k, ids[i], all_experts);
    if (ids[i] >= 0 && ids[i] < op.experts) offsets[ids[i] + 1]++;
  }
  for (int64_t e = 0; e < op.experts; e++) offsets[e + 1] += offsets[e];
  std::vector<int32_t> next_row(offsets, offsets + op.experts);
  for (int64_t i = 0; i < picks; i++) {
    const bool routed = ids[i] >= 0 && ids[i] < op.experts;
    slot_of[i] = routed ? next_row[ids[i]]++ : -1;
    if (routed) token_of[slot_of[i]] = int32_t(i / k);
  }
  std::fill(token_of + offsets[op.experts], token_of + picks, -1);
}

}  // namespace caracal::CARACAL_ISA

#pragma once
// Sorts the picks of FFN experts by expert, then by token, then by rank within the token, into the rows of a grouped
// GEMM.
//   ids i32 [T, K]: 0 <= id < experts is an FFN expert; a zero expert (id >= experts) and -1 get no row
//   outputs  offsets i32 [E+1]: expert e has rows [offsets[e], offsets[e+1])
//            tokenOf i32 [T*K]: the token of a row; -1 from offsets[E] on
//            slotOf i32 [T, K]: the row of a pick; -1 if it has none
// An id outside [-1, experts + zeroExperts) is INDEX_OUT_OF_RANGE when the operation runs.
#include "core/check.h"

namespace caracal {

struct Permutation {
  static constexpr const char* kName = "permutation";
  Tensor ids;
  int64_t experts = 0, zero_experts = 0;
  static constexpr auto kFields =
      std::tuple{field("ids", &Permutation::ids), required("experts", &Permutation::experts),
                 required("zeroExperts", &Permutation::zero_experts)};

  Outputs check() const {
    Checker c{kName};
    c.rank(ids, "ids", 2);
    c.dtype(ids, "ids", {DType::i32});
    c.range(experts, "experts", 1, 1 << 20);
    c.range(zero_experts, "zeroExperts", 0, 1 << 20);
    return {{DType::i32, {experts + 1}}, {DType::i32, {ids.shape.elements()}}, {DType::i32, ids.shape}};
  }

  // The error for element `pick` of ids, whose value is `id`.
  static Error id_error(int64_t pick, int64_t picks_per_token, int64_t id, int64_t all_experts) {
    return index_error(kName, "ids", pick, id,
                       "ids[" + std::to_string(pick / picks_per_token) + "][" + std::to_string(pick % picks_per_token) +
                           "] is " + std::to_string(id) + ", outside [-1, " + std::to_string(all_experts) + ")");
  }
};

}  // namespace caracal

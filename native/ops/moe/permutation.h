#pragma once
// Sorts the picks of FFN experts by expert, then by token, then by rank within the token: the rows of a grouped GEMM.
//   ids i32 [T, K]: 0 <= id < experts is an expert; id >= experts (a zero expert) or -1 takes no row
//   outputs  offsets i32 [E+1]: expert e has rows [offsets[e], offsets[e+1])
//            tokenOf i32 [T*K]: the token of a row; -1 past offsets[E]
//            slotOf i32 [T, K]: the row of a pick; -1 where it has none
// An id below -1 or at or above experts + zeroExperts is INDEX_OUT_OF_RANGE when it is run.
#include "core/check.h"

namespace caracal {

struct Permutation {
  static constexpr const char* kName = "permutation";
  Tensor ids;
  int64_t experts = 0, zeroExperts = 0;
  static constexpr auto kFields = std::tuple{field("ids", &Permutation::ids), field("experts", &Permutation::experts),
                                             field("zeroExperts", &Permutation::zeroExperts)};

  Outputs check() const {
    Checker c{kName};
    c.rank(ids, "ids", 2);
    c.dtype(ids, "ids", {DType::i32});
    c.range(experts, "experts", 1, 1 << 20);
    c.range(zeroExperts, "zeroExperts", 0, 1 << 20);
    return {{DType::i32, {experts + 1}}, {DType::i32, {ids.shape.elements()}}, {DType::i32, ids.shape}};
  }
};

}  // namespace caracal

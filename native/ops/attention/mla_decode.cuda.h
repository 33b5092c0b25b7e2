#pragma once
// How the work of mlaDecode is cut: small functions of sizes.
#include <algorithm>

#include "ops/attention/mla_decode.kernels.h"

namespace caracal::cuda {

// Into how many splits mlaDecode cuts sequences of up to so many keys; one at least, which looks at their lengths. The
// length of a split is fixed, so that a row's bits do not depend on its neighbours.
inline int64_t decode_splits(int64_t capacity) { return std::max<int64_t>(divide_up(capacity, kSplitKeys), 1); }

constexpr size_t decode_shared_bytes(int heads) {
  return heads == 64 ? sizeof(MlaSplitMemory<64>) : sizeof(MlaSplitMemory<16>);
}

// How many heads share a block of the tensor cores' kernel, where there would be so many blocks of 64. More read the
// cache less often, fewer keep more of the GPU busy; 64 need more shared memory than some GPUs have.
inline int decode_heads(int64_t heads, int64_t blocks, int sms, size_t shared_bytes) {
  return heads > 16 && blocks >= sms && shared_bytes >= decode_shared_bytes(64) ? 64 : 16;
}

}  // namespace caracal::cuda

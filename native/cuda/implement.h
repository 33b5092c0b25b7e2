#pragma once
// Included by every ops/**/*.cuda.cc: launching, and the grids that several operations share, as pure functions of sizes.
#include <algorithm>
#include <span>

#include "core/math.h"
#include "core/tensor.h"
#include "cuda/cuda.h"

namespace caracal::cuda {

// The address of a tensor's elements, for a kernel's parameter; null if there is no tensor.
inline void* address(const Tensor& t) { return t.data<std::byte>(); }
inline void* address(const std::optional<Tensor>& t) { return t ? address(*t) : nullptr; }

// Returns whether rows of n elements can be moved `elements` at a time: n is a multiple of them and all addresses are
// aligned to 16 bytes. Eight is what 16 bytes hold of bf16.
inline bool vectorizable(int64_t n, std::initializer_list<const void*> addresses, int64_t elements = 8) {
  return n % elements == 0 && std::all_of(addresses.begin(), addresses.end(),
                                          [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; });
}

// The number of elements that row- and element-wise kernels move at a time: as many as 16 bytes of the output's dtype
// hold, or one.
inline int64_t vector_elements(DType dtype, int64_t n, std::initializer_list<const void*> addresses) {
  const int64_t elements = 16 / static_cast<int64_t>(dtype_bytes(dtype));
  return vectorizable(n, addresses, elements) ? elements : 1;
}

// One block per row of n elements.
struct RowBlocks {
  unsigned threads;
  bool aligned;
  size_t shared_bytes;  // of a row in shared memory; 0 if it does not fit
};
inline RowBlocks row_blocks(DType dtype, int64_t n, std::initializer_list<const void*> addresses) {
  const int64_t vector = vector_elements(dtype, n, addresses), items = n / vector;
  constexpr size_t kMaxShared = 96 << 10;
  const size_t row = static_cast<size_t>(n) * dtype_bytes(dtype);
  return {static_cast<unsigned>(std::clamp<int64_t>(round_up(items, 32), 32, 256)), vector > 1,
          row <= kMaxShared ? row : 0};
}

// One thread per vector of elements.
struct ElementBlocks {
  Grid grid;
  unsigned threads;
  bool aligned;
};
inline ElementBlocks element_blocks(int64_t n, int64_t vector) {
  constexpr int64_t kThreads = 256;
  const int64_t items = n / vector;
  return {{static_cast<unsigned>(divide_up(items, kThreads))}, kThreads, vector > 1};
}

}  // namespace caracal::cuda

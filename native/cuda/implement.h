#pragma once
// What every ops/**/*.cuda.cc includes: launching, and the shapes of grids that several operations share. Shapes are
// plain functions of sizes.
#include <algorithm>
#include <span>

#include "core/math.h"
#include "core/tensor.h"
#include "cuda/cuda.h"

namespace caracal::cuda {

// Where a tensor's elements are, for a kernel's parameter; null where there is no tensor.
inline void* address(const Tensor& t) { return t.data<std::byte>(); }
inline void* address(const std::optional<Tensor>& t) { return t ? address(*t) : nullptr; }

// Whether `elements` at a time can be moved: n is a multiple of them, and all that is touched is aligned to 16 bytes.
inline bool vectors(int64_t n, std::initializer_list<const void*> addresses, int64_t elements = 8) {
  return n % elements == 0 && std::all_of(addresses.begin(), addresses.end(),
                                          [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; });
}

// How many elements row- and element-wise kernels take at once: what 16 bytes of the output's dtype hold, or one.
inline int64_t vector_elements(DType dtype, int64_t n, std::initializer_list<const void*> addresses) {
  const int64_t elements = 16 / static_cast<int64_t>(dtype_bytes(dtype));
  return vectors(n, addresses, elements) ? elements : 1;
}

// A block for each row of n elements.
struct RowBlocks {
  unsigned threads;
  bool aligned;
  size_t shared_bytes;  // for a row; 0 where it has no room
};
inline RowBlocks row_blocks(DType dtype, int64_t n, std::initializer_list<const void*> addresses) {
  const int64_t vector = vector_elements(dtype, n, addresses), items = n / vector;
  constexpr size_t kMostShared = 96 << 10;
  const size_t row = static_cast<size_t>(n) * dtype_bytes(dtype);
  return {static_cast<unsigned>(std::clamp<int64_t>((items + 31) / 32 * 32, 32, 256)), vector > 1,
          row <= kMostShared ? row : 0};
}

// A thread for each element, or for each vector of them.
struct ElementBlocks {
  Grid grid;
  unsigned threads;
  bool aligned;
};
inline ElementBlocks element_blocks(int64_t n, int64_t vector) {
  constexpr int64_t kThreads = 256;
  const int64_t items = n / vector;
  return {{static_cast<unsigned>((items + kThreads - 1) / kThreads)}, kThreads, vector > 1};
}

}  // namespace caracal::cuda

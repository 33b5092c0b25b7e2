#pragma once
// What every ops/**/*.cuda.cc includes: launching, and the shapes of grids that several operations share. Shapes are
// plain functions of sizes.
#include <algorithm>
#include <span>

#include "core/tensor.h"
#include "cuda/cuda.h"

namespace caracal::cuda {

// "rms_norm", f32, bf16: rms_norm_f32_bf16
template <class... DTypes>
std::string kernel_name(const char* name, DTypes... dtypes) {
  return (std::string(name) + ... + (std::string("_") + dtype_name(dtypes)));
}

// Where a tensor's elements are, for a kernel's parameter; null where there is no tensor.
inline void* address(const Tensor& t) { return t.data<std::byte>(); }
inline void* address(const std::optional<Tensor>& t) { return t ? address(*t) : nullptr; }

// Row- and element-wise kernels take so many elements at once where all they touch begins at multiples of 16 bytes.
constexpr int kVectorElements = 8;
inline bool vectors(int64_t n, std::initializer_list<const void*> addresses) {
  return n % kVectorElements == 0 && std::none_of(addresses.begin(), addresses.end(), [](const void* p) {
           return reinterpret_cast<uintptr_t>(p) % 16 != 0;
         });
}

// A block for each row of n elements.
struct RowBlocks {
  unsigned threads;
  bool aligned;
  size_t shared_bytes;  // for a row as f32; 0 where it has no room
};
inline RowBlocks row_blocks(int64_t n, std::initializer_list<const void*> addresses) {
  const bool aligned = vectors(n, addresses);
  const int64_t items = aligned ? n / kVectorElements : n;
  constexpr size_t kMostShared = 96 << 10;
  const size_t row = static_cast<size_t>(n) * sizeof(float);
  return {static_cast<unsigned>(std::clamp<int64_t>((items + 31) / 32 * 32, 32, 256)), aligned,
          row <= kMostShared ? row : 0};
}

// A thread for each element, or for each vector of them.
struct ElementBlocks {
  Grid grid;
  unsigned threads;
  bool aligned;
};
inline ElementBlocks element_blocks(int64_t n, bool aligned) {
  constexpr int64_t kThreads = 256;
  const int64_t items = aligned ? n / kVectorElements : n;
  return {{static_cast<unsigned>((items + kThreads - 1) / kThreads)}, kThreads, aligned};
}

}  // namespace caracal::cuda

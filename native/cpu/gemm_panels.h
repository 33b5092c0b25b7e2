#pragma once
// Weight panels: the layout every matrix product of the CPU backend reads.
//
// A weight [N, K] is stored as [ceil(N / 16)][K][16]: panel p holds columns 16 p to 16 p + 15 of the product, one group
// of sixteen per k, absent columns zero. So any number of rows streams the same contiguous memory.
// f32 groups are in column order. bf16 and f8e4m3 groups interleave columns j and j + 8 (0 8 1 9 ... 7 15): read as
// eight wider integers, the low halves are columns 0 to 7 and the high halves columns 8 to 15, so that widening takes a
// shift and a mask and no shuffle. The layout is the same on every instruction set.
#include "core/dtype.h"

namespace caracal {

inline constexpr int64_t kPanelColumns = 16;
inline constexpr int64_t kScaleBlock = 128;  // f8e4m3 carries one f32 scale per 128 x 128 block of W

struct Panels {
  DType dtype = DType::f32;  // f32, bf16 or f8e4m3
  const void* data = nullptr;
  int64_t n = 0;
  int64_t k = 0;
  const float* scales = nullptr;  // f8e4m3: [ceil(N / 128)][ceil(K / 128)]

  CARACAL_INLINE int64_t count() const { return (n + kPanelColumns - 1) / kPanelColumns; }
};

CARACAL_INLINE constexpr size_t panels_bytes(int64_t n, int64_t k, DType dtype) {
  return static_cast<size_t>((n + kPanelColumns - 1) / kPanelColumns * kPanelColumns * k) * dtype_bytes(dtype);
}

// Packs panels [first, last) of a weight whose element (row, k) is at(row, k); rows are the product's columns.
template <class T, class At>
CARACAL_INLINE void pack_panels(T* panels, int64_t n, int64_t k, int64_t first, int64_t last, At&& at) {
  constexpr int64_t block = 64;  // of k: a block's sixteen rows stay in L1 while they are interleaved
  for (int64_t p = first; p < last; p++) {
    for (int64_t k0 = 0; k0 < k; k0 += block) {
      const int64_t k1 = k0 + block < k ? k0 + block : k;
      for (int64_t j = 0; j < kPanelColumns; j++) {
        const int64_t row = p * kPanelColumns + j;
        T* out = panels + p * k * kPanelColumns + (sizeof(T) == 4 ? j : j < 8 ? 2 * j : 2 * j - 15);
        if (row < n) {
          for (int64_t i = k0; i < k1; i++) out[i * kPanelColumns] = at(row, i);
        } else {
          for (int64_t i = k0; i < k1; i++) out[i * kPanelColumns] = T{};
        }
      }
    }
  }
}

// The same from row-major W [N, K].
template <class T>
CARACAL_INLINE void pack_panels(T* panels, const T* w, int64_t n, int64_t k, int64_t first, int64_t last) {
  pack_panels(panels, n, k, first, last, [w, k](int64_t row, int64_t i) { return w[row * k + i]; });
}

}  // namespace caracal

#pragma once
// Weight panels: the layout that all matrix products of the CPU backend read.
//
// A weight [N, K] is stored as [ceil(N / 16)][K][16]: panel p holds columns 16 p to 16 p + 15 of the product, one group
// of sixteen per k; columns beyond N are zero. So any number of rows streams the same contiguous memory.
// f32 groups are in column order. Read as 32-bit integers, a bf16 group has columns 0 to 7 in its low halves and 8 to 15
// in its high halves (0 8 1 9 ... 7 15); an f8e4m3 group has columns 0 to 3 in its lowest bytes, 4 to 7 in the next ones,
// and so on (0 4 8 12 1 5 ... 15). So widening needs shifts and masks but no shuffles, on every instruction set.
#include "core/dtype.h"
#include "core/packed_weight.h"

namespace caracal {

struct Panels {
  DType dtype = DType::f32;  // f32, bf16 or f8e4m3
  const void* data = nullptr;
  int64_t n = 0;
  int64_t k = 0;
  const float* scales = nullptr;  // f8e4m3: [ceil(N / 128)][ceil(K / 128)]

  CARACAL_INLINE int64_t count() const { return divide_up(n, kPanelColumns); }
};

// Packs panels [first, last) of a weight whose element (row, k) is at(row, k); its rows are the product's columns.
// f8e4m3 weights must not contain NaN (see find_nan), since the kernels read 0x7f as 480.
template <class T, class At>
CARACAL_INLINE void pack_panels(T* panels, int64_t n, int64_t k, int64_t first, int64_t last, At&& at) {
  constexpr int64_t block = 64;               // of k: sixteen rows of a block stay in L1 while they are interleaved
  constexpr int64_t columns = 4 / sizeof(T);  // per 32-bit integer
  constexpr int64_t integers = kPanelColumns / columns;  // per group; columns j, j + integers, ... share the j-th
  for (int64_t p = first; p < last; p++) {
    T* panel = panels + p * k * kPanelColumns;
    for (int64_t k0 = 0; k0 < k; k0 += block) {
      const int64_t k1 = k0 + block < k ? k0 + block : k;
      for (int64_t j = 0; j < integers; j++) {
        const int64_t row = p * kPanelColumns + j;
        for (int64_t i = k0; i < k1; i++) {
          T group[columns];
          for (int64_t c = 0; c < columns; c++) group[c] = row + c * integers < n ? at(row + c * integers, i) : T{};
          memcpy(panel + i * kPanelColumns + j * columns, group, sizeof(group));
        }
      }
    }
  }
}

// The same for a row-major weight [N, K].
template <class T>
CARACAL_INLINE void pack_panels(T* panels, const T* w, int64_t n, int64_t k, int64_t first, int64_t last) {
  pack_panels(panels, n, k, first, last, [w, k](int64_t row, int64_t i) { return w[row * k + i]; });
}

// The index of the first NaN among n elements, or n.
CARACAL_INLINE int64_t find_nan(const f8e4m3* w, int64_t n) {
  int64_t i = 0;
  while (i < n && (w[i].bits & 0x7f) != 0x7f) i++;
  return i;
}

}  // namespace caracal

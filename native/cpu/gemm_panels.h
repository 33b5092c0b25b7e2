#pragma once
// Weight panels: the layout that all matrix products of the CPU backend read.
//
// A weight [N, K] is stored as panels of sixteen of its rows, which are columns of the product; rows beyond N are zero.
// Panel p holds rows 16 p to 16 p + 15, one group of sixteen per k, so any number of rows of x streams the same contiguous
// memory. Below, a lane is a 32-bit integer of a group, and brackets list its parts from the lowest bits on.
//   f32      [k][16 lanes]      lane j: row j
//   bf16     [k][8 lanes]       lane j: [row j, row j + 8]
//   f8e4m3   [k / 2][8 lanes]   lane j: [row j at k, row j at k + 1, row j + 8 at k, row j + 8 at k + 1]; K is padded
//   q8       [k / 4][16 lanes]  lane j: row j at k ... k + 3
//   q4       [k / 4][8 lanes]   lane j: bytes for k ... k + 3, each [row j, row j + 8]
// After each group of elements, q8 and q4 panels hold its sixteen scales and sixteen biases. So widening needs shifts and
// masks but no shuffles, on every instruction set, and integer dot products find four k of a row in a lane.
#include "core/dtype.h"
#include "core/packed_weight.h"

namespace caracal {

// The version of this layout, of every kind of packed weight and of what packing does to the numbers. Packed weights in
// files bear it, so it grows with every change that gives other bytes for the same source.
inline constexpr int kPackedLayoutVersion = 1;

// The codes of packed weights, as types.
struct q8 {};
struct q4 {};

struct Panels {
  DType dtype = DType::f32;  // f32, bf16, f8e4m3, q8 or q4
  const std::byte* data = nullptr;
  int64_t n = 0;
  int64_t k = 0;
  const float* scales = nullptr;  // f8e4m3: [ceil(N / 128)][ceil(K / 128)]
  GroupScales groups = {};        // q8 and q4

  CARACAL_INLINE int64_t count() const { return divide_up(n, kPanelColumns); }
  CARACAL_INLINE size_t panel_bytes() const { return panels_bytes(kPanelColumns, k, dtype, groups); }
};

// Packs panels [first, last) of a weight of float or bf16 whose element (row, k) is at(row, k).
template <class T, class At>
CARACAL_INLINE void pack_panels(T* panels, int64_t n, int64_t k, int64_t first, int64_t last, At&& at) {
  constexpr int64_t block = 64;            // of k: sixteen rows of a block stay in L1 while they are interleaved
  constexpr int64_t rows = 4 / sizeof(T);  // per lane
  constexpr int64_t lanes = kPanelColumns / rows;
  for (int64_t p = first; p < last; p++) {
    T* panel = panels + p * k * kPanelColumns;
    for (int64_t k0 = 0; k0 < k; k0 += block) {
      const int64_t k1 = k0 + block < k ? k0 + block : k;
      for (int64_t j = 0; j < lanes; j++) {
        const int64_t row = p * kPanelColumns + j;
        for (int64_t i = k0; i < k1; i++) {
          T lane[rows];
          for (int64_t r = 0; r < rows; r++) lane[r] = row + r * lanes < n ? at(row + r * lanes, i) : T{};
          memcpy(panel + i * kPanelColumns + j * rows, lane, sizeof(lane));
        }
      }
    }
  }
}

}  // namespace caracal
